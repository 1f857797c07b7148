package producer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/tracing"
)

// A Relay publishes the outbox. The goroutine of Run owns all of its state. Requests
// run in other goroutines, which report over a channel.
type Relay struct {
	config    Config
	log       *slog.Logger
	metrics   *Metrics
	transport *kafkago.Transport
	client    *kafkago.Client
	status    status

	queues        map[queueKey]*partitionQueue
	topics        map[string]*topic
	buffered      map[int64]int // rows in memory, with their bytes, until they are marked
	bufferedBytes int           // of buffered
	acked         []journal.Published

	noIdempotence bool // some batch was published without a producer id

	cursor   int64 // the last row that was read
	reading  bool
	stale    bool // the cursor was set back during a read
	more     bool // there may be rows above the cursor
	full     bool // reading waits for capacity
	marking  bool
	markAt   time.Time // after a failure, not before
	readAt   time.Time
	inFlight int // goroutines

	unauthentic unauthenticRows
	events      chan any

	lease       *lease // the term under which this relay publishes; nil without
	phase       phase
	renewing    bool // a request for the lease is in flight
	renewAt     time.Time
	requestedAt time.Time
}

// A pageResult is the result of one read.
type pageResult struct {
	rows []journal.OutboxRow
	err  error
}

// A markResult is the result of one marking.
type markResult struct {
	rows []journal.Published
	err  error
}

// New checks the settings. It opens no connection.
func New(config Config) (*Relay, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	return &Relay{
		config: config, log: config.Logger, metrics: config.Metrics,
		queues: map[queueKey]*partitionQueue{}, topics: map[string]*topic{}, buffered: map[int64]int{},
		events: make(chan any, 16),
	}, nil
}

// Ready reports whether results can be published, and describes what prevents it.
func (r *Relay) Ready() (bool, string) { return r.status.ready() }

// Run publishes while it has the lease, until ctx ends. Then it publishes the rest for
// at most FlushTimeout, releases the lease and returns nil; rows that are left stay in
// the outbox. It waits out every fault of Kafka and of the journal. Run is called once.
func (r *Relay) Run(ctx context.Context) error {
	var lines kafka.ConnTracker
	r.transport = lines.Transport(r.config.Kafka, r.config.topics()...)
	defer r.transport.CloseIdleConnections()
	r.client = r.config.Kafka.Client(r.transport)

	hard, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	r.reset()
	defer r.releaseLease()
	defer lines.CloseAll() // before the lease is released
	defer r.logUnpublished()
	stop, draining := ctx.Done(), false
	var late <-chan time.Time
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := r.work(hard, time.Now())
		if draining && r.drained() {
			break
		}
		timer.Reset(next)
		select {
		case <-r.config.Outbox.OutboxChanged():
			r.more = true
		case <-r.config.Outbox.LeaseReleased():
			if r.lease == nil {
				r.renewAt = time.Time{}
			}
		case e := <-r.events:
			r.handle(hard, e)
		case <-timer.C:
		case <-stop:
			stop, draining = nil, true
			// Rows may have been written after the last signal was read.
			r.more = true
			late = time.After(r.config.FlushTimeout)
		case <-late:
			giveUp()
			r.flush(hard)
			return nil
		}
	}
	giveUp()
	for r.inFlight > 0 { // at most the request for the lease
		r.handle(hard, <-r.events)
	}
	return nil
}

// work starts whatever can be started, and returns how long to wait for the next event
// at most.
func (r *Relay) work(ctx context.Context, now time.Time) time.Duration {
	next := time.Hour
	wait := func(at time.Time) {
		next = min(next, max(at.Sub(now), time.Millisecond))
	}
	r.acquireLease(ctx, now, wait)
	if !r.canPublish(wait) {
		return next
	}
	held := r.lease
	ctx = held.ctx
	r.refreshTopicMetadata(ctx, now, wait)
	r.resumeReading()
	r.recheckUnauthentic(now, wait)
	if r.more && !r.reading && !r.full {
		if now.Before(r.readAt) {
			wait(r.readAt)
		} else {
			r.read(ctx)
		}
	}
	if len(r.acked) > 0 && !r.marking {
		if now.Before(r.markAt) {
			wait(r.markAt)
		} else {
			r.mark(ctx)
		}
	}
	for _, l := range r.queues {
		if l.sending || l.partition == unknownPartition || len(l.rows)+len(l.batch) == 0 {
			continue
		}
		at := l.retryAt
		if t := r.topics[l.topic]; t.blockedUntil.After(at) {
			at = t.blockedUntil
		}
		if now.Before(at) {
			wait(at)
			continue
		}
		l.nextBatch(r.config.BatchRows, now)
		l.sending = true
		r.status.startWaiting(l.String(), l.since)
		r.spawn(func() any { return r.deliver(ctx, l, held) })
	}
	r.metrics.buffered.Set(float64(len(r.buffered)))
	return next
}

// spawn runs f in a goroutine and passes its result to handle.
func (r *Relay) spawn(f func() any) {
	r.inFlight++
	go func() { r.events <- f() }()
}

func (r *Relay) handle(ctx context.Context, event any) {
	r.inFlight--
	switch e := event.(type) {
	case leaseResult:
		r.onLeaseResult(ctx, e)
	case pageResult:
		r.onPage(e)
	case delivery:
		r.onDelivery(e)
	case markResult:
		r.onMarked(e)
	case topicMetadata:
		r.onTopicMetadata(e)
	}
}

// read reads the rows above the cursor.
func (r *Relay) read(ctx context.Context) {
	r.reading, r.stale, r.more = true, false, false
	after, rows, size := r.cursor, r.config.BatchRows, r.config.BatchBytes
	r.spawn(func() any {
		list, err := r.config.Outbox.Pending(ctx, after, rows, size)
		return pageResult{list, err}
	})
}

// onPage puts the rows of a page into their queues.
func (r *Relay) onPage(p pageResult) {
	r.reading = false
	if r.leaseLost(p.err) {
		return
	}
	if p.err != nil {
		r.more, r.readAt = true, time.Now().Add(minBackoff*10)
		r.status.report(r.log, "outbox", "read the outbox", p.err)
		return
	}
	r.status.clear("outbox")
	if r.stale {
		r.more = true
		return
	}
	for i := range p.rows {
		row := p.rows[i]
		if !r.authentic(row) {
			r.cursor = row.Row
			continue
		}
		if _, known := r.buffered[row.Row]; !known && !r.enqueue(row) {
			r.more, r.full = true, true
			return
		}
		r.cursor = row.Row
	}
	if len(p.rows) > 0 {
		r.more = true
		return
	}
	r.endRecheck()
	// All rows were read. The next read starts from the beginning, unless rows wait: a
	// row may have become visible below the cursor.
	if len(r.buffered) == 0 && !slices.ContainsFunc(r.allQueues(), func(l *partitionQueue) bool { return l.overflowFrom != 0 }) {
		r.cursor = 0
	}
}

// enqueue puts a row into its queue, or leaves it in the outbox if the queue is failing
// and full. It returns false if reading has to wait for capacity.
func (r *Relay) enqueue(row journal.OutboxRow) bool {
	l := r.queueOf(row)
	switch {
	case l.overflowFrom != 0:
		return true
	case l.full() && (l.failing() || r.topics[l.topic].blocked()):
		l.overflowFrom = row.Row
		return true
	case l.full(), len(r.buffered) >= maxBufferedRows, r.bufferedBytes >= maxBufferedBytes:
		return false
	}
	size := recordSize(&row.Message)
	r.buffered[row.Row] = size
	r.bufferedBytes += size
	l.push(row)
	return true
}

// resumeReading resumes reading where there is capacity again.
func (r *Relay) resumeReading() {
	for _, l := range r.queues {
		if l.overflowFrom != 0 && l.partition != unknownPartition && l.failures == 0 && l.hasCapacity() && !r.topics[l.topic].blocked() {
			r.rewindCursor(l.overflowFrom)
			l.overflowFrom = 0
		}
	}
	if !r.full || len(r.buffered) > maxBufferedRows/2 || r.bufferedBytes > maxBufferedBytes/2 {
		return
	}
	for _, l := range r.queues {
		if l.full() && !l.failing() && !r.topics[l.topic].blocked() {
			return
		}
	}
	r.full = false
}

// rewindCursor sets the cursor to just below row.
func (r *Relay) rewindCursor(row int64) {
	if r.cursor >= row {
		r.cursor = row - 1
		r.stale = true
	}
	r.more, r.full = true, false
}

// onDelivery completes a batch, or decides when it is retried.
func (r *Relay) onDelivery(d delivery) {
	l := d.queue
	l.sending = false
	if d.noIdempotence && !r.noIdempotence {
		r.noIdempotence = true
		r.log.Warn("the brokers issue no producer ids; publishing without them, so a lost response can publish an event twice with the same id", "err", kafka.Wrap(d.noIDErr))
	}
	l.producerID, l.noIdempotence = d.producerID, d.noIdempotence
	if errors.Is(d.err, errNoLease) {
		return // not written: retried when the lease is renewed
	}
	verdict := resultOf(d.err)
	repeated := l.timestampRefused
	l.timestampRefused = verdict == newTimestamp
	switch verdict {
	case published:
		tracing.Observe(r.metrics.duration, d.took.Seconds(), r.tracePublished(l, d.base))
		for i, row := range l.batch {
			offset := int64(-1)
			if d.base >= 0 {
				offset = d.base + int64(i)
			}
			r.acked = append(r.acked, journal.Published{Row: row.Row, Partition: l.partition, Offset: offset})
			r.metrics.published.WithLabelValues(row.Type).Inc()
		}
		l.producerID = l.producerID.next(len(l.batch))
		l.batch, l.failures, l.retryAt = nil, 0, time.Time{}
		r.unblock(l.topic)
		r.status.clear(l.String())
		return
	case newProducerID:
		// The broker does not know the producer id any more. If an earlier attempt was
		// written, the batch is published twice, with the same ids; the guarantee
		// permits that.
		l.producerID = identity{}
	case newTimestamp:
		// The batch was not appended, or it was appended by an attempt whose response
		// was lost: it keeps its sequence. Its time may have become too old on the way.
		if !repeated {
			r.metrics.errors.WithLabelValues(string(class(d.err))).Inc()
			return
		}
		if d.took < slowResponse {
			r.block(l.topic, d.err)
		}
	case split:
		if l.split() {
			return
		}
		r.block(l.topic, d.err)
	case refused:
		if errors.Is(d.err, kafkago.ClusterAuthorizationFailed) {
			l.producerID = identity{} // with this code old brokers refuse the producer id, not the batch
		}
		r.block(l.topic, d.err)
	case missing:
		r.onTopicMissing(r.topics[l.topic], d.err)
	}
	r.metrics.errors.WithLabelValues(string(class(d.err))).Inc()
	r.status.report(r.log, l.String(), "publish", fmt.Errorf("%s: %w", l.String(), kafka.Wrap(d.err)))
	if c := class(d.err); c == kafka.Leader || c == kafka.MissingTopic {
		r.topics[l.topic].refreshAt = time.Now() // the partition, or its topic, may have been deleted
	}
	l.retryAt = time.Now().Add(min(minBackoff<<min(l.failures, 10), maxBackoff))
	l.failures++
}

// mark records in the journal what was published.
func (r *Relay) mark(ctx context.Context) {
	rows := r.acked
	r.acked, r.marking = nil, true
	r.spawn(func() any { return markResult{rows, r.config.Outbox.MarkPublished(ctx, rows)} })
}

func (r *Relay) onMarked(m markResult) {
	r.marking = false
	if r.leaseLost(m.err) {
		return
	}
	if m.err != nil {
		// Published, but not marked: it stays buffered here.
		r.acked = append(m.rows, r.acked...)
		r.markAt = time.Now().Add(minBackoff * 10)
		r.status.report(r.log, "marking", "mark rows as published", m.err)
		return
	}
	r.status.clear("marking")
	for _, row := range m.rows {
		r.bufferedBytes -= r.buffered[row.Row]
		delete(r.buffered, row.Row)
	}
}

// drained reports whether nothing is left that could be published now.
func (r *Relay) drained() bool {
	if r.lease == nil {
		return r.phase == standby && !r.renewing // another replica publishes it
	}
	flying := r.inFlight
	if r.renewing {
		flying--
	}
	if flying > 0 || len(r.acked) > 0 || r.more && !r.full {
		return false
	}
	for _, l := range r.queues {
		if len(l.rows)+len(l.batch) > 0 && l.partition != unknownPartition && !r.topics[l.topic].blocked() {
			return false
		}
	}
	return true
}

// flush waits for what was in flight when time ran out, and marks what was
// acknowledged: a row that is not marked is published again.
func (r *Relay) flush(ctx context.Context) {
	for r.inFlight > 0 {
		r.handle(ctx, <-r.events)
	}
	if len(r.acked) == 0 {
		return
	}
	last, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r.mark(last)
	r.handle(ctx, <-r.events)
}

func (r *Relay) logUnpublished() {
	if len(r.buffered) > 0 {
		topics := map[string]int{}
		for _, l := range r.queues {
			if n := len(l.rows) + len(l.batch); n > 0 {
				topics[l.topic] += n
			}
		}
		var words []string
		for t, n := range topics {
			words = append(words, fmt.Sprintf("%s: %d", t, n))
		}
		slices.Sort(words)
		r.log.Warn("stopping with unpublished events in the outbox", "buffered", strings.Join(words, ", "))
	}
}
