package consumer

import (
	"context"
	"errors"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"

	"invoicebox-worker/schemas"
)

// maxRecordTime is the last instant that RFC 3339 can write, in milliseconds.
const maxRecordTime = 253402300799_999

// A fetched is the answer to one fetch.
type fetched struct {
	stream *stream // nil when there was nothing
	// end is where the records that may be read now end: the last stable offset.
	// The high watermark lies behind it while a transaction is open.
	end, highWatermark int64
}

// fetch asks the partition's leader for what lies at offset, committed records
// only. The library's own Fetch is not used because it hides which
// transactions were aborted and where control records lie.
func (c *Consumer) fetch(ctx context.Context, t kafka.RoundTripper, topic string, partition int, offset int64, maxBytes int) (fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := t.RoundTrip(ctx, c.client.Addr, &fetchapi.Request{
		ReplicaID: -1, MaxWaitTime: int32(maxWait.Milliseconds()), MinBytes: 1, MaxBytes: int32(maxBytes), // #nosec G115 -- at most maxFetchBytes
		IsolationLevel: int8(kafka.ReadCommitted), SessionID: -1, SessionEpoch: -1,
		Topics: []fetchapi.RequestTopic{{Topic: topic, Partitions: []fetchapi.RequestPartition{{
			Partition: int32(partition), CurrentLeaderEpoch: -1, FetchOffset: offset, LogStartOffset: -1, // #nosec G115 -- partitions are 32 bits
			PartitionMaxBytes: int32(maxBytes), // #nosec G115 -- at most maxFetchBytes
		}}}},
	})
	if err != nil {
		return fetched{}, err
	}
	r, ok := answer.(*fetchapi.Response)
	if !ok {
		return fetched{}, errors.New("consumer: not a fetch response")
	}
	if r.ErrorCode != 0 {
		return fetched{}, kafka.Error(r.ErrorCode)
	}
	if len(r.Topics) == 0 || len(r.Topics[0].Partitions) == 0 {
		return fetched{}, protocol.ErrNoPartition
	}
	p := &r.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return fetched{}, kafka.Error(p.ErrorCode)
	}
	f := fetched{end: p.LastStableOffset, highWatermark: p.HighWatermark}
	if f.end < 0 {
		f.end = f.highWatermark
	}
	if p.RecordSet.Records != nil {
		f.stream = newStream(p.RecordSet.Records, p.AbortedTransactions, topic, partition, offset)
	}
	return f, nil
}

// A stream gives the records of one fetch from an offset on. It leaves out
// control records and those of aborted transactions, and knows where the next
// fetch has to begin after the records that compaction or transactions took
// away.
type stream struct {
	batches   []protocol.RecordReader
	unread    []fetchapi.ResponseTransaction // aborted transactions that did not begin yet
	aborted   map[int64]bool                 // producers inside an aborted transaction
	topic     string
	partition int
	from      int64
	next      int64
	seen      bool // the current batch gave a record
	begun     bool // the current batch was looked at
	drop      bool // the current batch is aborted
}

func newStream(records protocol.RecordReader, aborted []fetchapi.ResponseTransaction, topic string, partition int, from int64) *stream {
	s := &stream{unread: aborted, aborted: map[int64]bool{}, topic: topic, partition: partition, from: from, next: from}
	if set, ok := records.(*protocol.RecordStream); ok {
		s.batches = set.Records
	} else {
		s.batches = []protocol.RecordReader{records}
	}
	return s
}

// read gives the next record, io.EOF at the end; s.next is then where the next
// fetch begins.
func (s *stream) read() (schemas.Message, error) {
	for len(s.batches) > 0 {
		if !s.begun {
			s.enter(s.batches[0])
		}
		record, err := s.record(s.batches[0])
		if errors.Is(err, io.EOF) {
			s.leave(s.batches[0])
			continue
		}
		if err != nil {
			return schemas.Message{}, err
		}
		s.seen = true
		if record == nil || record.Offset < s.from {
			closeRecord(record)
			continue
		}
		s.next = record.Offset + 1
		if s.drop {
			closeRecord(record)
			continue
		}
		return s.message(record)
	}
	return schemas.Message{}, io.EOF
}

// enter looks at a batch's producer before its records.
func (s *stream) enter(batch protocol.RecordReader) {
	s.begun, s.seen, s.drop = true, false, false
	b, ok := batch.(*protocol.RecordBatch)
	if !ok || !b.Attributes.Transactional() {
		return
	}
	rest := s.unread[:0]
	for _, t := range s.unread {
		if t.FirstOffset <= b.BaseOffset {
			s.aborted[t.ProducerID] = true
		} else {
			rest = append(rest, t)
		}
	}
	s.unread = rest
	s.drop = s.aborted[b.ProducerID]
}

// record reads one record of a batch; nil for a control record.
func (s *stream) record(batch protocol.RecordReader) (*protocol.Record, error) {
	control, ok := batch.(*protocol.ControlBatch)
	if !ok {
		return batch.ReadRecord()
	}
	mark, err := control.ReadControlRecord()
	if err != nil {
		return nil, err
	}
	const abort = 0
	if mark.Type == abort {
		delete(s.aborted, control.ProducerID)
	}
	s.next = max(s.next, mark.Offset+1)
	return nil, nil
}

// leave steps over a batch. One that gave no record at or above the offset
// asked for, such as the empty shell that compaction leaves, says nothing of
// where it ends: the next fetch tries one offset further.
func (s *stream) leave(batch protocol.RecordReader) {
	if b, ok := batch.(*protocol.RecordBatch); ok && !s.seen {
		s.next = max(s.next, b.BaseOffset+1)
	}
	s.next = max(s.next, s.from)
	s.batches, s.begun = s.batches[1:], false
	if len(s.batches) == 0 && s.next == s.from {
		s.next++
	}
}

func (s *stream) message(r *protocol.Record) (schemas.Message, error) {
	defer closeRecord(r)
	key, err := protocol.ReadAll(r.Key)
	if err != nil {
		return schemas.Message{}, err
	}
	value, err := protocol.ReadAll(r.Value)
	if err != nil {
		return schemas.Message{}, err
	}
	m := schemas.Message{Topic: s.topic, Partition: s.partition, Offset: r.Offset, Key: key, Value: value}
	// A record without a time has -1, and a producer can write any number.
	if ms := r.Time.UnixMilli(); ms >= 0 && ms <= maxRecordTime {
		m.Time = r.Time.UTC()
	}
	if len(r.Headers) > 0 {
		m.Headers = make([]schemas.Header, len(r.Headers))
		for i, h := range r.Headers {
			m.Headers[i] = schemas.Header{Key: h.Key, Value: h.Value}
		}
	}
	return m, nil
}

// closeRecord gives the pages behind a record back.
func closeRecord(r *protocol.Record) {
	if r == nil {
		return
	}
	if r.Key != nil {
		_ = r.Key.Close()
	}
	if r.Value != nil {
		_ = r.Value.Close()
	}
}
