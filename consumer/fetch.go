package consumer

import (
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/recordbatch"
	"invoicebox-worker/schemas"
)

// maxRecordTime is the last instant that RFC 3339 can represent, in milliseconds.
const maxRecordTime = 253402300799_999

// A fetchResult is the result of one fetch.
type fetchResult struct {
	records *recordIterator // nil if there are none
	// lastStable is the last stable offset: where the committed records end. The high
	// watermark is above it while a transaction is open.
	lastStable, highWatermark int64
	// memory is what decompressing takes at most, bytes the size of the batches.
	memory int64
	bytes  int
	// release releases the memory of the batches; never nil.
	release func()
}

// newFetchResult makes the result from a partition's part of a response.
func (f *fetcher) newFetchResult(p partResponse, offset int64) (fetchResult, error) {
	if p.errorCode != 0 {
		return fetchResult{release: func() {}}, kafkago.Error(p.errorCode)
	}
	got := fetchResult{lastStable: p.lastStable, highWatermark: p.highWatermark, memory: recordMemory, bytes: p.bytes, release: func() {}}
	if got.lastStable < 0 {
		got.lastStable = got.highWatermark
	}
	if len(p.batches) == 0 {
		return got, nil
	}
	inOrder(p.batches, max(got.highWatermark, got.lastStable))
	for i := range p.batches {
		b := &p.batches[i]
		if b.fault != nil {
			continue
		}
		need, err := f.decompressor.MemoryNeeded(&b.Batch)
		if err != nil {
			continue // the iterator reports it
		}
		got.memory = max(got.memory, recordMemory+need)
	}
	got.records = &recordIterator{
		decompressor: f.decompressor, batches: p.batches, unread: p.aborted, aborted: map[int64]bool{},
		topic: p.topic, partition: p.partition, from: offset, next: offset,
	}
	return got, nil
}

// beyondEnd is how far a batch may lie above the end that the same response names:
// brokers read the end before they read the records.
const beyondEnd = 1 << 30

// inOrder marks batches whose offsets cannot be right. The checksum does not cover the
// base offset, and a wrong one would make the position skip records.
func inOrder(batches []fetchedBatch, end int64) {
	last := int64(-1)
	for i := range batches {
		b := &batches[i]
		switch {
		case b.fault != nil && !errors.Is(b.fault, recordbatch.ErrTooLarge):
		case b.BaseOffset <= last, b.LastOffset() > end+beyondEnd:
			b.fault = fmt.Errorf("%w: it claims the offsets %d to %d; the batch before it ends at %d, the partition at %d", recordbatch.ErrDamaged, b.BaseOffset, b.LastOffset(), last, end)
		default:
			last = b.LastOffset()
		}
	}
}

// A batchMark identifies the batch before a position. An offset does not: a log that
// lost its tail and was filled again has other batches at the same offsets.
type batchMark struct {
	base, last int64 // its offsets
	epoch      int32 // of the leader that appended it; -1 if unknown
	crc        uint32
	compacted  bool // the log cleaner has rewritten it
}

func batchMarkOf(h *recordbatch.Header) batchMark {
	return batchMark{h.BaseOffset, h.LastOffset(), h.LeaderEpoch, h.CRC, h.Count <= h.LastOffsetDelta || h.Cleaned()}
}

// An unreadableRange is a range of records that exceed a limit, or will never be
// readable.
type unreadableRange struct {
	from, to int64 // excluded
	records  int64 // how many
	size     int64 // in bytes
	reason   schemas.InvalidReason
	crc      uint32 // of the batch
	time     time.Time
	why      error
}

// A recordIterator iterates over the records of one fetch. It skips control records and
// records of aborted transactions, and knows where the next fetch begins if compaction
// or transactions removed records.
type recordIterator struct {
	decompressor *recordbatch.Decompressor
	batches      []fetchedBatch
	unread       []abortedTransaction // that did not begin yet
	aborted      map[int64]bool       // producers inside an aborted transaction
	topic        string
	partition    int
	from         int64
	next         int64
	reader       *recordbatch.Reader // of the current batch
	skipAborted  bool                // the current batch is aborted
	mark         batchMark           // the batch of the last record
	decompressed int64
}

// An item is a record, or a range of unreadable records.
type item struct {
	message    schemas.Message
	unreadable *unreadableRange
}

// offset is the item's first offset.
func (i *item) offset() int64 {
	if i.unreadable != nil {
		return i.unreadable.from
	}
	return i.message.Offset
}

// read returns the next item, or io.EOF at the end; s.next is then where the next fetch
// begins. Any other error is of a damaged batch, which begins at s.next.
func (s *recordIterator) read() (item, error) {
	for len(s.batches) > 0 {
		b := &s.batches[0]
		if s.reader == nil {
			if b.fault == nil && b.LastOffset() < s.from {
				s.endBatch()
				continue
			}
			if err := s.beginBatch(b); err != nil {
				return s.skipUnreadable(b, err)
			}
		}
		record, err := s.reader.Next()
		if errors.Is(err, io.EOF) {
			s.endBatch()
			continue
		}
		if err != nil {
			return s.skipUnreadable(b, err)
		}
		if b.Control() {
			if kind, ok := record.ControlType(); ok && kind == recordbatch.Abort {
				delete(s.aborted, b.ProducerID)
			}
			continue
		}
		if record.Offset < s.from {
			continue
		}
		s.next = record.Offset + 1
		if s.skipAborted {
			continue
		}
		return s.item(b, record), nil
	}
	return item{}, io.EOF
}

func (s *recordIterator) item(b *fetchedBatch, record recordbatch.Record) item {
	if record.TooLarge == nil {
		return item{message: s.message(record)}
	}
	return item{unreadable: &unreadableRange{
		from: record.Offset, to: record.Offset + 1, records: 1, size: record.Size, reason: schemas.ReasonTooLarge,
		crc: b.CRC, time: recordTime(record.Timestamp), why: record.TooLarge,
	}}
}

// beginBatch checks a batch's checksum and producer before its records are read.
func (s *recordIterator) beginBatch(b *fetchedBatch) error {
	if b.fault != nil {
		return b.fault
	}
	if err := b.Verify(); err != nil {
		return err
	}
	s.mark = batchMarkOf(&b.Header)
	s.checkAborted(b)
	reader, err := s.decompressor.Read(&b.Batch)
	s.reader = reader
	return err
}

// checkAborted notes whether a batch belongs to an aborted transaction.
func (s *recordIterator) checkAborted(b *fetchedBatch) {
	s.skipAborted = false
	if !b.Transactional() {
		return
	}
	rest := s.unread[:0]
	for _, t := range s.unread {
		if t.first <= b.BaseOffset {
			s.aborted[t.producer] = true
		} else {
			rest = append(rest, t)
		}
	}
	s.unread = rest
	s.skipAborted = s.aborted[b.ProducerID] && !b.Control()
}

// skipUnreadable skips the rest of a batch that cannot be read. A damaged batch is not
// skipped: another copy of it may be good.
func (s *recordIterator) skipUnreadable(b *fetchedBatch, why error) (item, error) {
	reason := schemas.ReasonMalformed
	switch {
	case errors.Is(why, recordbatch.ErrTooLarge):
		reason = schemas.ReasonTooLarge
	case !errors.Is(why, recordbatch.ErrMalformed):
		return item{}, fmt.Errorf("consumer: the batch at offset %d: %w", b.BaseOffset, why)
	case b.Magic != 2:
		return item{}, fmt.Errorf("consumer: the batch at offset %d: %w", b.BaseOffset, why)
	}
	if b.fault != nil {
		s.checkAborted(b)
		s.mark = batchMarkOf(&b.Header)
	}
	r := &unreadableRange{from: max(s.next, b.BaseOffset, s.from), to: b.LastOffset() + 1, size: b.Size(), reason: reason, crc: b.CRC, time: recordTime(b.MaxTimestamp), why: why}
	r.records = r.to - r.from
	drop := s.skipAborted || b.Control()
	s.endBatch()
	if drop || r.records <= 0 {
		return s.read()
	}
	return item{unreadable: r}, nil
}

// endBatch moves behind the end of a batch, also if it had no record, such as an empty
// batch that compaction leaves.
func (s *recordIterator) endBatch() {
	s.next = max(s.next, s.batches[0].LastOffset()+1, s.from)
	s.closeBatch()
	s.batches = s.batches[1:]
}

// closeBatch closes the reader of the current batch.
func (s *recordIterator) closeBatch() {
	if s.reader != nil {
		s.decompressed += s.reader.Decompressed()
		s.reader.Close()
		s.reader = nil
	}
}

func (s *recordIterator) message(r recordbatch.Record) schemas.Message {
	m := schemas.Message{Topic: s.topic, Partition: s.partition, Offset: r.Offset, Time: recordTime(r.Timestamp), Key: r.Key, Value: r.Value}
	if len(r.Headers) > 0 {
		m.Headers = make([]schemas.Header, len(r.Headers))
		for i, h := range r.Headers {
			m.Headers[i] = schemas.Header{Key: h.Key, Value: h.Value}
		}
	}
	return m
}

// recordTime returns a record's time. It is zero for -1, which means none, and for a
// time that RFC 3339 cannot represent: a producer can send any number.
func recordTime(ms int64) time.Time {
	if ms < 0 || ms > maxRecordTime {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
