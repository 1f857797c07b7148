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

// unknownPartition is the partition of a lane whose topic was not seen yet.
const unknownPartition = -1

// A queueKey names a lane.
type queueKey struct {
	topic     string
	partition int
}

// String names the lane for people.
func (k queueKey) String() string { return k.topic + "/" + strconv.Itoa(k.partition) }

// A queue is what waits for one partition, in order. At most one batch of it is
// under way; that batch stays as it is until it is settled, so that a repeat
// carries the sequence and the records of the first attempt. Each attempt has a
// time of its own.
type partitionQueue struct {
	queueKey
	rows  []journal.Outgoing
	bytes int // of queue

	batch            []journal.Outgoing // under way, or to be tried again
	sending          bool               // a request is under way
	since            time.Time          // of the first attempt with batch
	timestampRefused bool               // a broker refused the time of the last attempt
	failures         int                // in a row
	retryAt          time.Time
	batchLimit       int      // bufferedBytes of a batch
	producerID       identity // of batch, else of the next one
	noIdempotence    bool     // the broker gives no producer ids

	// overflowFrom is the first row that was left in the outbox because the lane was
	// full while it was in trouble; 0 for none. Later rows stay there, too.
	overflowFrom int64
}

// full tells whether the lane holds as much as it may.
func (l *partitionQueue) full() bool {
	return len(l.rows)+len(l.batch) >= maxQueueRows || l.bytes >= maxQueueBytes
}

// hasCapacity tells whether there is room for a good deal more.
func (l *partitionQueue) hasCapacity() bool {
	return len(l.rows)+len(l.batch) <= maxQueueRows/2 && l.bytes <= maxQueueBytes/2
}

// failing tells whether the lane's own fault keeps it from moving.
func (l *partitionQueue) failing() bool {
	return l.failures > 0 || l.partition == unknownPartition || l.overflowFrom != 0
}

// push adds a row behind all others.
func (l *partitionQueue) push(row journal.Outgoing) {
	l.rows = append(l.rows, row)
	l.bytes += recordSize(&row.Message)
}

// nextBatch takes the next batch off the queue, unless one is to be tried again.
func (l *partitionQueue) nextBatch(maxRows int, now time.Time) {
	if len(l.batch) > 0 {
		return
	}
	n, size := 0, batchHeaderLen
	for n < len(l.rows) && n < maxRows {
		size += recordSize(&l.rows[n].Message)
		if n > 0 && size > l.batchLimit {
			break
		}
		n++
	}
	l.batch, l.rows = l.rows[:n:n], l.rows[n:]
	if len(l.rows) == 0 {
		l.rows = nil // lets go of the rows before it
	}
	for i := range l.batch {
		l.bytes -= recordSize(&l.batch[i].Message)
	}
	l.since, l.timestampRefused = now, false
}

// split puts the batch back and makes the next ones smaller. It returns false
// when the batch is a single row.
func (l *partitionQueue) split() bool {
	if len(l.batch) < 2 {
		return false
	}
	size := batchHeaderLen
	for i := range l.batch {
		size += recordSize(&l.batch[i].Message)
	}
	l.batchLimit = min(l.batchLimit, size) / 2
	for i := range l.batch {
		l.bytes += recordSize(&l.batch[i].Message)
	}
	l.rows = append(slices.Clip(l.batch), l.rows...)
	l.batch = nil
	return true
}

// A delivery is the end of one attempt.
type delivery struct {
	queue         *partitionQueue
	producerID    identity // under which it was sent
	noIdempotence bool
	noIDErr       error // why there is no producer id
	base          int64 // offset of the first record; -1 where the broker did not say
	took          time.Duration
	err           error
}

// deliver sends the lane's batch once. It only reads the lane, which nobody
// changes while it is busy. After the end of the lease it sends nothing.
func (r *Relay) deliver(ctx context.Context, l *partitionQueue, under *lease) delivery {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	began := time.Now()
	d := delivery{queue: l, producerID: l.producerID, noIdempotence: l.noIdempotence, base: -1}
	if !d.producerID.known && !d.noIdempotence {
		d.producerID, d.err = initProducerID(ctx, r.client)
		if IsProducerIDDenied(d.err) {
			d.noIdempotence, d.noIDErr, d.err = true, d.err, nil
		}
		if d.err != nil {
			return d
		}
	}
	answer, err := r.client.RawProduce(ctx, &kafkago.RawProduceRequest{
		Topic: l.topic, Partition: l.partition, RequiredAcks: kafkago.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: &leaseCheckedReader{lease: under, rows: l.batch, producerID: d.producerID}},
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

// class sorts an error for the relay.
func class(err error) kafka.ErrorClass { return kafka.ClassOf(err) }

// allQueues gives the lanes.
func (r *Relay) allQueues() []*partitionQueue {
	list := make([]*partitionQueue, 0, len(r.queues))
	for _, l := range r.queues {
		list = append(list, l)
	}
	return list
}
