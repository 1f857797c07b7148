package recordbatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The reasons why a batch cannot be read. Callers use errors.Is.
var (
	// ErrDamaged: the bytes are not those that were written.
	ErrDamaged = errors.New("the record batch is damaged")
	// ErrTooLarge: the batch exceeds a limit.
	ErrTooLarge = errors.New("the record batch is too large")
	// ErrMalformed: the bytes are those that were written, and they are no batch.
	ErrMalformed = errors.New("the record batch is malformed")
)

const (
	// HeaderSize is the size of the fixed part of a batch.
	HeaderSize = 61
	// PrefixSize is the size of the base offset and the length, which the length
	// does not count.
	PrefixSize = 12

	crcEnd = 21 // the checksum covers what follows
)

// The compression codecs of a batch.
const (
	None uint8 = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// A Header is the fixed part of a batch.
type Header struct {
	BaseOffset      int64
	Length          int32 // of what follows the prefix
	LeaderEpoch     int32 // of the leader that appended the batch; -1 when unknown
	Magic           int8
	CRC             uint32 // CRC-32C of all that follows it
	Attributes      int16
	LastOffsetDelta int32
	FirstTimestamp  int64
	MaxTimestamp    int64
	ProducerID      int64
	Count           int32 // of records, by the batch's own account
}

// Parse reads a header from the first HeaderSize bytes of a batch.
func (h *Header) Parse(b []byte) error {
	if len(b) < HeaderSize {
		return fmt.Errorf("%w: %d bytes are too few for a header", ErrDamaged, len(b))
	}
	be := binary.BigEndian
	*h = Header{
		BaseOffset: int64(be.Uint64(b)), Length: int32(be.Uint32(b[8:])), LeaderEpoch: int32(be.Uint32(b[12:])), // #nosec G115 -- the wire's signed numbers
		Magic: int8(b[16]), CRC: be.Uint32(b[17:]), Attributes: int16(be.Uint16(b[21:])), // #nosec G115 -- the wire's signed numbers
		LastOffsetDelta: int32(be.Uint32(b[23:])), FirstTimestamp: int64(be.Uint64(b[27:])), // #nosec G115 -- the wire's signed numbers
		MaxTimestamp: int64(be.Uint64(b[35:])), ProducerID: int64(be.Uint64(b[43:])), // #nosec G115 -- the wire's signed numbers
		Count: int32(be.Uint32(b[57:])), // #nosec G115 -- the wire's signed numbers
	}
	switch {
	case h.Magic != 2:
		return fmt.Errorf("%w: message format %d is not supported, only 2 is (Kafka 0.11 and later)", ErrMalformed, h.Magic)
	case h.Length < HeaderSize-PrefixSize:
		return fmt.Errorf("%w: its length is %d", ErrDamaged, h.Length)
	case h.BaseOffset < 0 || h.LastOffsetDelta < 0 || h.LastOffset() < h.BaseOffset:
		return fmt.Errorf("%w: its offsets are %d and %d more", ErrDamaged, h.BaseOffset, h.LastOffsetDelta)
	}
	return nil
}

// Size returns the size of the whole batch as it is sent.
func (h *Header) Size() int64 { return PrefixSize + int64(h.Length) }

// LastOffset returns the offset of the batch's last record, even if compaction removed
// that record.
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// Codec is the compression of the records.
func (h *Header) Codec() uint8 { return uint8(h.Attributes & 7) } // #nosec G115 -- three bits

// LogAppendTime reports whether the time of all records is MaxTimestamp, which the
// broker wrote. The records' own times are then the producer's.
func (h *Header) LogAppendTime() bool { return h.Attributes&(1<<3) != 0 }

// Transactional reports whether the batch belongs to a transaction.
func (h *Header) Transactional() bool { return h.Attributes&(1<<4) != 0 }

// Control reports whether the batch holds the marker of a transaction and no
// record of a producer.
func (h *Header) Control() bool { return h.Attributes&(1<<5) != 0 }

// Cleaned reports whether the log cleaner rewrote the batch to note when its tombstones
// or transaction markers may be removed (KIP-534). It may still hold all of its
// records, but its checksum has changed.
func (h *Header) Cleaned() bool { return h.Attributes&(1<<6) != 0 }

// A Batch is a whole batch.
type Batch struct {
	Header
	bytes []byte
}

// Parse parses a batch at the start of b and retains the bytes.
func Parse(b []byte) (Batch, error) {
	var batch Batch
	if err := batch.Header.Parse(b); err != nil {
		return batch, err
	}
	if batch.Size() > int64(len(b)) {
		return batch, fmt.Errorf("%w: it claims %d bytes and has %d", ErrDamaged, batch.Size(), len(b))
	}
	batch.bytes = b[:batch.Size()]
	return batch, nil
}

// Verify compares the checksum.
func (b *Batch) Verify() error {
	if sum := Checksum(0, b.bytes[crcEnd:]); sum != b.CRC {
		return fmt.Errorf("%w: its CRC-32C is %08x, want %08x", ErrDamaged, sum, b.CRC)
	}
	return nil
}

// payload is what follows the header: the records, compressed or not.
func (b *Batch) payload() []byte { return b.bytes[HeaderSize:] }

// Checksum adds bytes to a checksum.
func Checksum(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// ChecksumOf starts the checksum of a batch with this header: the sum of the header's
// part.
func ChecksumOf(header []byte) uint32 { return Checksum(0, header[crcEnd:HeaderSize]) }
