package producer

import (
	"context"
	"slices"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// unresolved is the partition of a lane whose topic was not seen yet.
const unresolved = -1

// A laneKey names a lane.
type laneKey struct {
	topic     string
	partition int
}

// place names the lane for people.
func (k laneKey) place() string { return k.topic + "/" + strconv.Itoa(k.partition) }

// A lane is what waits for one partition, in order. At most one batch of it is
// under way; that batch stays as it is until it is settled, so that a repeat
// carries the sequence and the records of the first attempt. Each attempt has a
// time of its own.
type lane struct {
	laneKey
	queue []journal.Outgoing
	bytes int // of queue

	batch    []journal.Outgoing // under way, or to be tried again
	busy     bool               // a request is under way
	since    time.Time          // of the first attempt with batch
	untimely bool               // a broker refused the time of the last attempt
	failures int                // in a row
	retryAt  time.Time
	limit    int      // bytes of a batch
	who      identity // of batch, else of the next one
	plain    bool     // the broker gives no producer ids

	// skipFrom is the first row that was left in the outbox because the lane was
	// full while it was in trouble; 0 for none. Later rows stay there, too.
	skipFrom int64
}

// full tells whether the lane holds as much as it may.
func (l *lane) full() bool {
	return len(l.queue)+len(l.batch) >= laneRows || l.bytes >= laneBytes
}

// low tells whether there is room for a good deal more.
func (l *lane) low() bool {
	return len(l.queue)+len(l.batch) <= laneRows/2 && l.bytes <= laneBytes/2
}

// troubled tells whether the lane's own fault keeps it from moving.
func (l *lane) troubled() bool { return l.failures > 0 || l.partition == unresolved || l.skipFrom != 0 }

// push adds a row behind all others.
func (l *lane) push(row journal.Outgoing) {
	l.queue = append(l.queue, row)
	l.bytes += recordSize(&row.Message)
}

// cut takes the next batch off the queue, unless one is to be tried again.
func (l *lane) cut(maxRows int, now time.Time) {
	if len(l.batch) > 0 {
		return
	}
	n, size := 0, batchHeaderLen
	for n < len(l.queue) && n < maxRows {
		size += recordSize(&l.queue[n].Message)
		if n > 0 && size > l.limit {
			break
		}
		n++
	}
	l.batch, l.queue = l.queue[:n:n], l.queue[n:]
	if len(l.queue) == 0 {
		l.queue = nil // lets go of the rows before it
	}
	for i := range l.batch {
		l.bytes -= recordSize(&l.batch[i].Message)
	}
	l.since, l.untimely = now, false
}

// halve puts the batch back and makes the next ones smaller. It returns false
// when the batch is a single row.
func (l *lane) halve() bool {
	if len(l.batch) < 2 {
		return false
	}
	size := batchHeaderLen
	for i := range l.batch {
		size += recordSize(&l.batch[i].Message)
	}
	l.limit = min(l.limit, size) / 2
	for i := range l.batch {
		l.bytes += recordSize(&l.batch[i].Message)
	}
	l.queue = append(slices.Clip(l.batch), l.queue...)
	l.batch = nil
	return true
}

// A delivery is the end of one attempt.
type delivery struct {
	lane  *lane
	who   identity // under which it was sent
	plain bool
	noID  error // why there is no producer id
	base  int64 // offset of the first record; -1 where the broker did not say
	took  time.Duration
	err   error
}

// deliver sends the lane's batch once. It only reads the lane, which nobody
// changes while it is busy. After the end of the lease it sends nothing.
func (r *Relay) deliver(ctx context.Context, l *lane, under *grant) delivery {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	began := time.Now()
	d := delivery{lane: l, who: l.who, plain: l.plain, base: -1}
	if !d.who.known && !d.plain {
		d.who, d.err = r.newIdentity(ctx)
		if refusesIdentity(d.err) {
			d.plain, d.noID, d.err = true, d.err, nil
		}
		if d.err != nil {
			return d
		}
	}
	answer, err := r.client.RawProduce(ctx, &kafkago.RawProduceRequest{
		Topic: l.topic, Partition: l.partition, RequiredAcks: kafkago.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: &guarded{grant: under, rows: l.batch, who: d.who}},
	})
	d.took = time.Since(began)
	switch {
	case err != nil:
		d.err = err
	case answer.Error != nil:
		d.err = answer.Error
	default:
		d.base = answer.BaseOffset
	}
	return d
}

// newIdentity asks the cluster for a producer id.
func (r *Relay) newIdentity(ctx context.Context) (identity, error) {
	answer, err := r.client.InitProducerID(ctx, &kafkago.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return identity{}, err
	}
	if answer.Error != nil {
		return identity{}, answer.Error
	}
	return identity{known: true, id: int64(answer.Producer.ProducerID), epoch: int16(answer.Producer.ProducerEpoch)}, nil // #nosec G115 -- an epoch has 16 bits
}

// class sorts an error for the relay.
func class(err error) kafka.Class { return kafka.ClassOf(err) }

// list gives the lanes.
func (r *Relay) list() []*lane {
	list := make([]*lane, 0, len(r.lanes))
	for _, l := range r.lanes {
		list = append(list, l)
	}
	return list
}
