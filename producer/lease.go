package producer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

const (
	// standbyPause is how often a relay without the lease tries to acquire it, besides
	// the releases that the journal reports.
	standbyPause = time.Second
	// releaseTimeout bounds the release of the lease.
	releaseTimeout = 2 * time.Second
)

// errNoLease says that a batch was not written, because the lease had expired.
var errNoLease = errors.New("producer: the relay lease has expired")

// A grant is one term of the relay lease. What was begun under it is not written
// after its end, also when another term follows.
type grant struct {
	term   int64
	cancel context.CancelFunc // of what was begun under it
	ctx    context.Context

	mu        sync.Mutex
	expiresAt time.Time
}

func (g *grant) renew(expiresAt time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expiresAt = expiresAt
}

// end ends the grant for good.
func (g *grant) end() {
	g.renew(time.Time{})
	g.cancel()
}

// valid looks at both clocks: the monotonic one stands still while a machine is
// suspended, the wall's can be set back.
func (g *grant) valid() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	return now.Before(g.expiresAt) && now.Round(0).Before(g.expiresAt.Round(0))
}

// A guarded batch is encoded when its request is put together, on the connection
// and just before it is written: the last moment to leave it, and the time that
// its records carry. A batch that waited for its broker would be refused by a
// topic that bounds the age of records, and be deleted early by one that keeps
// them by their time. A broker recognises a repeat by its sequence, whatever its
// time is.
type guarded struct {
	grant *grant
	rows  []journal.Outgoing
	who   identity
	batch io.Reader
}

func (g *guarded) Read(b []byte) (int, error) {
	if !g.grant.valid() {
		return 0, errNoLease
	}
	if g.batch == nil {
		g.batch = bytes.NewReader(encodeBatch(g.rows, g.who, time.Now()))
	}
	return g.batch.Read(b)
}

// An answer is the journal's to a request for the lease.
type answer struct {
	lease journal.RelayLease
	err   error
}

// acquireLease acquires or renews the lease when that is due.
func (r *Relay) acquireLease(ctx context.Context, now time.Time, wait func(time.Time)) {
	if r.asking {
		return
	}
	at := r.askAt
	if r.grant != nil && !r.grant.valid() {
		at = r.askedAt.Add(leastPause * 10) // the clock was set
	}
	if now.Before(at) {
		wait(at)
		return
	}
	r.asking, r.askedAt = true, now
	r.fly(func() any {
		lease, err := r.config.Outbox.AcquireLease(ctx)
		return answer{lease, err}
	})
}

// mayPublish tells whether anything can be begun, and notices the end of the lease.
func (r *Relay) mayPublish(wait func(time.Time)) bool {
	if r.grant == nil {
		return false
	}
	if r.grant.valid() {
		wait(r.grant.expiresAt) // only this goroutine writes it
		return true
	}
	if r.phase == holding {
		r.enter(unknown)
	}
	return false
}

// answered begins, goes on, stops or waits, as the journal says.
func (r *Relay) answered(ctx context.Context, a answer) {
	r.asking = false
	now := time.Now()
	switch {
	case a.err == nil:
		r.status.clear("lease")
		if r.grant == nil || r.grant.term != a.lease.Term {
			r.begin(ctx, a.lease.Term)
		}
		r.grant.renew(a.lease.ExpiresAt)
		r.enter(holding)
		r.askAt = now.Add(max(a.lease.ExpiresAt.Sub(now)/3, leastPause))
	case errors.Is(a.err, journal.ErrLeaseHeld):
		r.status.clear("lease")
		if r.phase != standby {
			r.log.Info("another replica publishes; this one stands by")
		}
		r.abandon(standby)
		r.askAt = now.Add(standbyPause)
	default:
		r.askAt = now.Add(leastPause * 10)
		if r.grant == nil || !r.grant.valid() {
			r.enter(unknown)
		}
		r.status.note(r.log, "lease", "the relay lease could not be acquired; trying again", a.err)
	}
}

// begin starts from what the journal holds.
func (r *Relay) begin(ctx context.Context, term int64) {
	if r.phase == standby {
		r.log.Info("this replica publishes now")
	}
	r.abandon(holding)
	g := &grant{term: term}
	g.ctx, g.cancel = context.WithCancel(ctx)
	r.grant = g
}

// abandon discards all that was held: the holder of the lease finds it in the
// journal. It returns when nothing is under way any more.
func (r *Relay) abandon(next phase) {
	r.enter(next)
	if r.grant == nil {
		return
	}
	r.grant.end()
	r.grant = nil
	for r.flying > 0 {
		if _, ok := (<-r.events).(answer); ok {
			r.asking = false
		}
		r.flying--
	}
	r.log.Warn("lost the relay lease; discarded the buffered events, which the next relay will publish", "rows", len(r.held))
	for name := range r.topics {
		r.metrics.stopped.WithLabelValues(name).Set(0)
	}
	r.status.forget()
	r.empty()
}

// empty makes the relay know nothing.
func (r *Relay) empty() {
	r.lanes, r.topics, r.held = map[laneKey]*lane{}, map[string]*topic{}, map[int64]int{}
	r.bytes, r.cursor, r.acked = 0, 0, nil
	r.reading, r.stale, r.more, r.full, r.marking = false, false, true, false, false
	r.markAt, r.readAt = time.Time{}, time.Time{}
	r.metrics.held.Set(0)
	r.forged = forged{}
	r.countForged()
	for _, name := range r.config.topics() {
		r.topic(name) // known before the first result needs it
	}
}

// lost notes that the journal refuses the term.
func (r *Relay) lost(err error) bool {
	if !errors.Is(err, journal.ErrStale) {
		return false
	}
	r.abandon(unknown)
	r.askAt = time.Time{}
	return true
}

// releaseLease ends the lease, so that another replica can acquire it at once.
// Nothing of it is under way: connections were cut before.
func (r *Relay) releaseLease() {
	had := r.grant != nil
	if had {
		r.grant.end()
		r.grant = nil
	}
	r.enter(standby)
	if !had {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := r.config.Outbox.ReleaseLease(ctx); err != nil {
		r.log.Warn("the relay lease was not released; another replica waits until it expires", "err", err)
	}
}

// A phase is whether this replica publishes.
type phase uint8

const (
	starting phase = iota // nobody was asked yet
	holding
	standby
	unknown // the journal does not answer, and the lease may be over
)

func (r *Relay) enter(p phase) {
	r.phase = p
	r.status.enter(p)
	active := 0.0
	if p == holding {
		active = 1
	}
	r.metrics.active.Set(active)
}
