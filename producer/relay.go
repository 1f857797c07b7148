package producer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// A Relay publishes the outbox. One goroutine, Run's, owns all of its state;
// what takes time happens in others, which report back over a channel.
type Relay struct {
	config    Config
	log       *slog.Logger
	metrics   *Metrics
	transport *kafkago.Transport
	client    *kafkago.Client
	status    status

	lanes  map[laneKey]*lane
	topics map[string]*topic
	held   map[int64]int // rows in memory, with their bytes, until they are marked
	bytes  int           // of held
	acked  []journal.Published

	plain bool // some batch was published without a producer id

	cursor  int64 // the last row that was read
	reading bool
	stale   bool // the cursor was set back while a page was on its way
	more    bool // there may be rows above the cursor
	full    bool // reading waits for room
	marking bool
	markAt  time.Time // after a failure, not before
	readAt  time.Time
	flying  int // goroutines

	forged forged
	events chan any

	grant   *grant // the term under which this relay publishes; nil without
	phase   phase
	asking  bool // for the lease
	askAt   time.Time
	askedAt time.Time
}

// A page is the end of one read.
type page struct {
	rows []journal.Outgoing
	err  error
}

// A marked is the end of one marking.
type marked struct {
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
		lanes: map[laneKey]*lane{}, topics: map[string]*topic{}, held: map[int64]int{},
		events: make(chan any, 16),
	}, nil
}

// Ready tells whether results can be published, and in a few words what keeps
// them.
func (r *Relay) Ready() (bool, string) { return r.status.ready() }

// Run publishes while it has the lease, until ctx ends. Then it goes on for at
// most FlushTime, so that what was decided before is published, releases the
// lease and returns nil: whatever is left stays in the outbox. It waits out every
// fault of Kafka and of the journal. Run is called once.
func (r *Relay) Run(ctx context.Context) error {
	var lines kafka.Lines
	r.transport = lines.Transport(r.config.Kafka, r.config.topics()...)
	defer r.transport.CloseIdleConnections()
	r.client = r.config.Kafka.Client(r.transport)

	hard, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	r.empty()
	defer r.releaseLease()
	defer lines.Cut() // before the lease is released
	defer r.leave()
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
			if r.grant == nil {
				r.askAt = time.Time{}
			}
		case e := <-r.events:
			r.handle(hard, e)
		case <-timer.C:
		case <-stop:
			stop, draining = nil, true
			// Rows may have been written after the last signal was read.
			r.more = true
			late = time.After(r.config.FlushTime)
		case <-late:
			giveUp()
			r.settle(hard)
			return nil
		}
	}
	giveUp()
	for r.flying > 0 { // at most the request for the lease
		r.handle(hard, <-r.events)
	}
	return nil
}

// work starts whatever can be started and tells how long it can wait for the
// next event at most.
func (r *Relay) work(ctx context.Context, now time.Time) time.Duration {
	next := time.Hour
	wait := func(at time.Time) {
		next = min(next, max(at.Sub(now), time.Millisecond))
	}
	r.acquireLease(ctx, now, wait)
	if !r.mayPublish(wait) {
		return next
	}
	grant := r.grant
	ctx = grant.ctx
	r.resolve(ctx, now, wait)
	r.refill()
	r.lookAgain(now, wait)
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
	for _, l := range r.lanes {
		if l.busy || l.partition == unresolved || len(l.queue)+len(l.batch) == 0 {
			continue
		}
		at := l.retryAt
		if t := r.topics[l.topic]; t.stoppedUntil.After(at) {
			at = t.stoppedUntil
		}
		if now.Before(at) {
			wait(at)
			continue
		}
		l.cut(r.config.BatchRows, now)
		l.busy = true
		r.status.hold(l.place(), l.since)
		r.fly(func() any { return r.deliver(ctx, l, grant) })
	}
	r.metrics.held.Set(float64(len(r.held)))
	return next
}

// fly runs f beside the relay and hands its end to handle.
func (r *Relay) fly(f func() any) {
	r.flying++
	go func() { r.events <- f() }()
}

func (r *Relay) handle(ctx context.Context, event any) {
	r.flying--
	switch e := event.(type) {
	case answer:
		r.answered(ctx, e)
	case page:
		r.take(e)
	case delivery:
		r.delivered(e)
	case marked:
		r.marked(e)
	case seen:
		r.resolved(e)
	}
}

// read asks for the rows above the cursor.
func (r *Relay) read(ctx context.Context) {
	r.reading, r.stale, r.more = true, false, false
	after, rows, size := r.cursor, r.config.BatchRows, r.config.BatchBytes
	r.fly(func() any {
		list, err := r.config.Outbox.Pending(ctx, after, rows, size)
		return page{list, err}
	})
}

// take puts a page's rows into their lanes.
func (r *Relay) take(p page) {
	r.reading = false
	if r.lost(p.err) {
		return
	}
	if p.err != nil {
		r.more, r.readAt = true, time.Now().Add(leastPause*10)
		r.status.note(r.log, "outbox", "reading the outbox; trying again", p.err)
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
		if _, known := r.held[row.Row]; !known && !r.place(row) {
			r.more, r.full = true, true
			return
		}
		r.cursor = row.Row
	}
	if len(p.rows) > 0 {
		r.more = true
		return
	}
	r.looked()
	// All is read. From the start again, the next time, as long as that is
	// nothing that waits: a row may have become visible behind the cursor.
	if len(r.held) == 0 && !slices.ContainsFunc(r.list(), func(l *lane) bool { return l.skipFrom != 0 }) {
		r.cursor = 0
	}
}

// place puts a row into its lane, or leaves it in the outbox because the lane
// is in trouble and full. It returns false when reading has to wait for room.
func (r *Relay) place(row journal.Outgoing) bool {
	l := r.laneOf(row)
	switch {
	case l.skipFrom != 0:
		return true
	case l.full() && (l.troubled() || r.topics[l.topic].stopped()):
		l.skipFrom = row.Row
		return true
	case l.full(), len(r.held) >= heldRows, r.bytes >= heldBytes:
		return false
	}
	size := recordSize(&row.Message)
	r.held[row.Row] = size
	r.bytes += size
	l.push(row)
	return true
}

// refill lets reading go on where there is room again.
func (r *Relay) refill() {
	for _, l := range r.lanes {
		if l.skipFrom != 0 && l.partition != unresolved && l.failures == 0 && l.low() && !r.topics[l.topic].stopped() {
			r.back(l.skipFrom)
			l.skipFrom = 0
		}
	}
	if !r.full || len(r.held) > heldRows/2 || r.bytes > heldBytes/2 {
		return
	}
	for _, l := range r.lanes {
		if l.full() && !l.troubled() && !r.topics[l.topic].stopped() {
			return
		}
	}
	r.full = false
}

// back sets the cursor to just below row.
func (r *Relay) back(row int64) {
	if r.cursor >= row {
		r.cursor = row - 1
		r.stale = true
	}
	r.more, r.full = true, false
}

// delivered settles a batch, or decides when it is tried again.
func (r *Relay) delivered(d delivery) {
	l := d.lane
	l.busy = false
	if d.plain && !r.plain {
		r.plain = true
		r.log.Warn("the brokers give no producer ids; results are published without them, and a lost answer can publish an event twice with the same id", "err", kafka.Explain(d.noID))
	}
	l.who, l.plain = d.who, d.plain
	if errors.Is(d.err, errNoLease) {
		return // not written: the same again when the lease is renewed
	}
	verdict := verdictOf(d.err)
	repeated := l.untimely
	l.untimely = verdict == retime
	switch verdict {
	case published:
		r.metrics.seconds.Observe(d.took.Seconds())
		for i, row := range l.batch {
			offset := int64(-1)
			if d.base >= 0 {
				offset = d.base + int64(i)
			}
			r.acked = append(r.acked, journal.Published{Row: row.Row, Partition: l.partition, Offset: offset})
			r.metrics.published.WithLabelValues(row.Type).Inc()
		}
		l.who = l.who.after(len(l.batch))
		l.batch, l.failures, l.retryAt = nil, 0, time.Time{}
		r.open(l.topic)
		r.status.clear(l.place())
		return
	case renumber:
		// The broker does not know the numbers any more. Where an earlier
		// attempt was written all the same the batch is published twice, with
		// the same ids: that is the promise.
		l.who = identity{}
	case retime:
		// The batch was not appended, or it was by an attempt whose answer was
		// lost: so it keeps its sequence. The time may have grown old on the way.
		if !repeated {
			r.metrics.errors.WithLabelValues(string(class(d.err))).Inc()
			return
		}
		if d.took < slowAnswer {
			r.stop(l.topic, d.err)
		}
	case split:
		if l.halve() {
			return
		}
		r.stop(l.topic, d.err)
	case refused:
		if errors.Is(d.err, kafkago.ClusterAuthorizationFailed) {
			l.who = identity{} // old brokers refuse the producer id so, not the batch
		}
		r.stop(l.topic, d.err)
	case missing:
		r.missed(r.topics[l.topic], d.err)
	}
	r.metrics.errors.WithLabelValues(string(class(d.err))).Inc()
	r.status.note(r.log, l.place(), "publishing; trying again", fmt.Errorf("%s: %w", l.place(), kafka.Explain(d.err)))
	if c := class(d.err); c == kafka.Leader || c == kafka.MissingTopic {
		r.topics[l.topic].askAt = time.Now() // the partition, or its topic, may be gone
	}
	l.retryAt = time.Now().Add(min(leastPause<<min(l.failures, 10), mostPause))
	l.failures++
}

// mark notes in the journal what was published.
func (r *Relay) mark(ctx context.Context) {
	rows := r.acked
	r.acked, r.marking = nil, true
	r.fly(func() any { return marked{rows, r.config.Outbox.MarkPublished(ctx, rows)} })
}

func (r *Relay) marked(m marked) {
	r.marking = false
	if r.lost(m.err) {
		return
	}
	if m.err != nil {
		// Published all the same; until it is marked it is not forgotten here.
		r.acked = append(m.rows, r.acked...)
		r.markAt = time.Now().Add(leastPause * 10)
		r.status.note(r.log, "marking", "marking rows as published; trying again", m.err)
		return
	}
	r.status.clear("marking")
	for _, row := range m.rows {
		r.bytes -= r.held[row.Row]
		delete(r.held, row.Row)
	}
}
