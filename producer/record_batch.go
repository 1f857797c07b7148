package producer

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// The layout of a record batch, version 2: offsets of its fixed fields, after the four
// bytes of size with which a raw produce request begins.
const (
	batchSizeLen   = 4
	atLength       = batchSizeLen + 8
	atLeaderEpoch  = atLength + 4
	atCRC          = atLeaderEpoch + 4 + 1
	atAttributes   = atCRC + 4
	batchHeaderLen = atAttributes + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4
	magic          = 2
)

// castagnoli is an immutable table.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeBatch encodes rows as a record batch, preceded by its size. The same arguments
// give the same bytes.
func encodeBatch(rows []journal.OutboxRow, who identity, at time.Time) []byte {
	size := batchHeaderLen
	for i := range rows {
		size += recordSize(&rows[i].Message) + 4*binary.MaxVarintLen32
	}
	id, epoch, sequence := who.id, who.epoch, who.sequence
	if !who.known {
		id, epoch, sequence = -1, -1, -1
	}
	ms := at.UnixMilli()
	big := binary.BigEndian
	b := make([]byte, batchSizeLen, size)
	b = big.AppendUint64(b, 0)                   // base offset: the broker's
	b = big.AppendUint32(b, 0)                   // length: below
	b = big.AppendUint32(b, 0xffffffff)          // leader epoch: the broker's
	b = append(b, magic)                         //
	b = big.AppendUint32(b, 0)                   // CRC: below
	b = big.AppendUint16(b, 0)                   // attributes: not compressed, create time
	b = big.AppendUint32(b, uint32(len(rows)-1)) // #nosec G115 -- at most BatchRows
	b = big.AppendUint64(b, uint64(ms))          // #nosec G115 -- the bits of a time
	b = big.AppendUint64(b, uint64(ms))          // #nosec G115 -- the bits of a time
	b = big.AppendUint64(b, uint64(id))          // #nosec G115 -- the bits of an id
	b = big.AppendUint16(b, uint16(epoch))       // #nosec G115 -- the bits of an epoch
	b = big.AppendUint32(b, uint32(sequence))    // #nosec G115 -- the bits of a sequence
	b = big.AppendUint32(b, uint32(len(rows)))   // #nosec G115 -- at most BatchRows
	var record []byte
	for i := range rows {
		record = appendRecord(record[:0], i, &rows[i].Message)
		b = binary.AppendVarint(b, int64(len(record)))
		b = append(b, record...)
	}
	big.PutUint32(b, uint32(len(b)-batchSizeLen))             // #nosec G115 -- bounded by BatchBytes
	big.PutUint32(b[atLength:], uint32(len(b)-atLeaderEpoch)) // #nosec G115 -- bounded by BatchBytes
	big.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], castagnoli))
	return b
}

func appendRecord(b []byte, index int, m *schemas.Message) []byte {
	b = append(b, 0)                         // attributes
	b = binary.AppendVarint(b, 0)            // time: the batch's
	b = binary.AppendVarint(b, int64(index)) // offset delta
	b = appendBytes(b, m.Key, m.Key == nil)
	b = appendBytes(b, m.Value, m.Value == nil)
	b = binary.AppendVarint(b, int64(len(m.Headers)))
	for _, h := range m.Headers {
		b = appendBytes(b, []byte(h.Key), false)
		b = appendBytes(b, h.Value, h.Value == nil)
	}
	return b
}

func appendBytes(to, b []byte, null bool) []byte {
	if null {
		return binary.AppendVarint(to, -1)
	}
	return append(binary.AppendVarint(to, int64(len(b))), b...)
}

// recordSize estimates how many bytes a message takes in a batch; it is never too low.
func recordSize(m *schemas.Message) int {
	n := 32 + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += 10 + len(h.Key) + len(h.Value)
	}
	return n
}
