package consumer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"invoicebox-worker/internal/recordbatch"
)

const (
	// The versions of Fetch: from the first with the last stable offset to the last
	// without flexible encodings.
	oldestFetch, newestFetch = 4, 11
	// clientThrottles is the first version whose throttled responses come at once.
	clientThrottles = 8
	// maxAborted bounds the aborted transactions of a response, maxName a topic's name.
	maxAborted = 1 << 20
	maxName    = 32 << 10
)

// errResponse says that a fetch response is malformed. The connection must be closed.
var errResponse = errors.New("consumer: the broker's fetch response cannot be read")

// A fetchResponse is the part of a fetch response that concerns all partitions.
type fetchResponse struct {
	throttle  time.Duration
	errorCode int16
}

// A partResponse is the part of a fetch response that concerns one partition.
type partResponse struct {
	topicPartition
	errorCode                 int16
	highWatermark, lastStable int64 // negative if unknown
	aborted                   []abortedTransaction
	batches                   []fetchedBatch
	bytes                     int // of batches
}

// An abortedTransaction is one that a producer gave up.
type abortedTransaction struct{ producer, first int64 }

// A fetchedBatch is a batch as it arrived, or only the header of one that is too large.
type fetchedBatch struct {
	recordbatch.Batch
	fault error // why it cannot be read
}

// A responseReader reads a fetch response from the connection, so that a batch that is
// too large is never in memory.
type responseReader struct {
	in       *bufio.Reader
	version  int16
	left     int64 // of the response, in bytes
	maxBatch int   // in bytes
	err      error
}

// read reads the response to a request and calls f for each partition.
func (r *responseReader) read(correlation int32, f func(partResponse)) (fetchResponse, error) {
	r.left = 4
	if r.left = int64(r.int32()); r.err == nil && r.left < 8 {
		return fetchResponse{}, fmt.Errorf("%w: its length is %d", errResponse, r.left)
	}
	if got := r.int32(); r.err == nil && got != correlation {
		return fetchResponse{}, fmt.Errorf("%w: it answers request %d and not %d", errResponse, got, correlation)
	}
	answer := fetchResponse{throttle: time.Duration(max(r.int32(), 0)) * time.Millisecond}
	if r.version >= 7 {
		answer.errorCode = r.int16()
		r.int32() // session
	}
	for range r.count(6) {
		topic := r.text()
		for range r.count(22) {
			part := r.partition(topic)
			if r.err != nil {
				return answer, r.err
			}
			f(part)
		}
	}
	r.skip(r.left)
	return answer, r.err
}

func (r *responseReader) partition(topic string) partResponse {
	p := partResponse{topicPartition: topicPartition{topic, int(r.int32())}, errorCode: r.int16(), highWatermark: r.int64(), lastStable: r.int64()}
	if r.version >= 5 {
		r.int64() // log start
	}
	n := r.count(16)
	if n > maxAborted {
		r.fail(fmt.Errorf("%w: it names %d aborted transactions", errResponse, n))
	}
	for range n {
		if r.err != nil {
			break
		}
		p.aborted = append(p.aborted, abortedTransaction{producer: r.int64(), first: r.int64()})
	}
	if r.version >= 11 {
		r.int32() // preferred replica
	}
	r.batches(&p, int64(r.int32()))
	return p
}

// batches reads the batches of a partition. The last one may be cut off; the next fetch
// returns it whole.
func (r *responseReader) batches(p *partResponse, size int64) {
	if size > r.left {
		r.fail(fmt.Errorf("%w: records exceed it", errResponse))
	}
	for r.err == nil && size >= recordbatch.HeaderSize {
		head, err := r.in.Peek(recordbatch.HeaderSize)
		if err != nil {
			r.fail(err)
			return
		}
		var b fetchedBatch
		b.fault = b.Parse(head)
		whole := b.Size()
		switch {
		case b.fault != nil && (b.Length < recordbatch.HeaderSize-recordbatch.PrefixSize || whole > size):
			// The start of the next batch is unknown.
			p.batches = append(p.batches, b)
			r.skip(size)
			return
		case whole > size:
			r.skip(size)
			return
		case b.fault != nil:
			r.skip(whole)
		case whole > int64(r.maxBatch):
			b.fault = r.oversize(&b.Header)
		default:
			bytes := make([]byte, whole)
			r.readFull(bytes)
			if r.err == nil {
				b.Batch, b.fault = recordbatch.Parse(bytes)
				p.bytes += len(bytes)
			}
		}
		size -= whole
		p.batches = append(p.batches, b)
	}
	if size > 0 {
		r.skip(size)
	}
}

// oversize skips a batch that is too large, and checks its checksum meanwhile.
func (r *responseReader) oversize(h *recordbatch.Header) error {
	head := make([]byte, recordbatch.HeaderSize)
	r.readFull(head)
	if r.err != nil {
		return r.err
	}
	sum := recordbatch.ChecksumOf(head)
	chunk := make([]byte, 32<<10)
	for left := h.Size() - recordbatch.HeaderSize; left > 0 && r.err == nil; {
		part := chunk[:min(left, int64(len(chunk)))]
		r.readFull(part)
		sum = recordbatch.Checksum(sum, part)
		left -= int64(len(part))
	}
	if sum != h.CRC {
		return fmt.Errorf("%w: its CRC-32C is %08x, want %08x", recordbatch.ErrDamaged, sum, h.CRC)
	}
	return fmt.Errorf("%w: it has %d bytes, the limit is %d", recordbatch.ErrTooLarge, h.Size(), r.maxBatch)
}

func (r *responseReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// readFull reads bytes of the response.
func (r *responseReader) readFull(b []byte) {
	if r.err != nil {
		return
	}
	if int64(len(b)) > r.left {
		r.fail(fmt.Errorf("%w: it ends too early", errResponse))
		return
	}
	r.left -= int64(len(b))
	if _, err := io.ReadFull(r.in, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		r.fail(err)
	}
}

func (r *responseReader) skip(n int64) {
	if r.err != nil {
		return
	}
	if n > r.left {
		r.fail(fmt.Errorf("%w: it ends too early", errResponse))
		return
	}
	r.left -= n
	if _, err := io.CopyN(io.Discard, r.in, n); err != nil {
		r.fail(err)
	}
}

func (r *responseReader) int16() int16 {
	var b [2]byte
	r.readFull(b[:])
	return int16(binary.BigEndian.Uint16(b[:])) // #nosec G115 -- the wire's signed number
}

func (r *responseReader) int32() int32 {
	var b [4]byte
	r.readFull(b[:])
	return int32(binary.BigEndian.Uint32(b[:])) // #nosec G115 -- the wire's signed number
}

func (r *responseReader) int64() int64 {
	var b [8]byte
	r.readFull(b[:])
	return int64(binary.BigEndian.Uint64(b[:])) // #nosec G115 -- the wire's signed number
}

// count reads the number of elements that follow, each of at least size bytes.
func (r *responseReader) count(size int64) int32 {
	n := r.int32()
	if r.err != nil || n < 0 {
		return 0
	}
	if int64(n)*size > r.left {
		r.fail(fmt.Errorf("%w: %d elements exceed it", errResponse, n))
		return 0
	}
	return n
}

func (r *responseReader) text() string {
	n := r.int16()
	if n < 0 || n > maxName-1 {
		return ""
	}
	b := make([]byte, n)
	r.readFull(b)
	return string(b)
}
