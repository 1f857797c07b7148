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

// unknownPartition is the partition of a queue whose topic was not described yet.
const unknownPartition = -1

// A queueKey identifies a queue.
type queueKey struct {
	topic     string
	partition int
}

// String formats the key for people.
func (k queueKey) String() string { return k.topic + "/" + strconv.Itoa(k.partition) }

// A partitionQueue holds what waits for one partition, in order. At most one batch is
// in flight. The batch stays unchanged until it is acknowledged, so that a repeat has
// the sequence and the records of the first attempt; only the time differs.
type partitionQueue struct {
	queueKey
	rows  []journal.OutboxRow
	bytes int // of rows

	batch            []journal.OutboxRow // in flight, or to be retried
	sending          bool                // a request is in flight
	since            time.Time           // of the first attempt with batch
	timestampRefused bool                // a broker refused the time of the last attempt
	failures         int                 // in a row
	retryAt          time.Time
	batchLimit       int      // of a batch, in bytes
	producerID       identity // of batch, else of the next one
	noIdempotence    bool     // the broker issues no producer ids

	// overflowFrom is the first row that stayed in the outbox because the queue was
	// full and failing; 0 for none. Later rows stay there, too.
	overflowFrom int64
}

// full reports whether the queue has reached a limit.
func (l *partitionQueue) full() bool {
	return len(l.rows)+len(l.batch) >= maxQueueRows || l.bytes >= maxQueueBytes
}

// hasCapacity reports whether at least half of the queue is free.
func (l *partitionQueue) hasCapacity() bool {
	return len(l.rows)+len(l.batch) <= maxQueueRows/2 && l.bytes <= maxQueueBytes/2
}

// failing reports whether the queue cannot move because of its own partition.
func (l *partitionQueue) failing() bool {
	return l.failures > 0 || l.partition == unknownPartition || l.overflowFrom != 0
}

// push appends a row.
func (l *partitionQueue) push(row journal.OutboxRow) {
	l.rows = append(l.rows, row)
	l.bytes += recordSize(&row.Message)
}

// nextBatch takes the next batch off the queue, unless one is to be retried.
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
		l.rows = nil // releases the rows before it
	}
	for i := range l.batch {
		l.bytes -= recordSize(&l.batch[i].Message)
	}
	l.since, l.timestampRefused = now, false
}

// split returns the batch to the queue and makes the next ones smaller. It returns
// false if the batch is a single row.
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

// A delivery is the result of one attempt.
type delivery struct {
	queue         *partitionQueue
	producerID    identity // under which it was sent
	noIdempotence bool
	noIDErr       error // why there is no producer id
	base          int64 // offset of the first record; -1 if the broker did not return it
	took          time.Duration
	err           error
}

// deliver sends the queue's batch once. It only reads the queue, which nobody changes
// while it is sending. It writes nothing after the end of the lease.
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

// class returns the class of an error.
func class(err error) kafka.ErrorClass { return kafka.ClassOf(err) }

// allQueues lists the queues.
func (r *Relay) allQueues() []*partitionQueue {
	list := make([]*partitionQueue, 0, len(r.queues))
	for _, l := range r.queues {
		list = append(list, l)
	}
	return list
}
