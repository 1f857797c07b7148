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

// A lease is one term of the relay lease. What was begun under it is not written
// after its end, also when another term follows.
type lease struct {
	term   int64
	cancel context.CancelFunc // of what was begun under it
	ctx    context.Context

	mu        sync.Mutex
	expiresAt time.Time
}

func (g *lease) renew(expiresAt time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expiresAt = expiresAt
}

// revoke ends the grant for good.
func (g *lease) revoke() {
	g.renew(time.Time{})
	g.cancel()
}

// held looks at both clocks: the monotonic one stands still while a machine is
// suspended, the wall's can be set back.
func (g *lease) held() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	return now.Before(g.expiresAt) && now.Round(0).Before(g.expiresAt.Round(0))
}

// A leaseCheckedReader batch is encoded when its request is put together, on the connection
// and just before it is written: the last moment to leave it, and the time that
// its records carry. A batch that waited for its broker would be refused by a
// topic that bounds the age of records, and be deleted early by one that keeps
// them by their time. A broker recognises a repeat by its sequence, whatever its
// time is.
type leaseCheckedReader struct {
	lease      *lease
	rows       []journal.Outgoing
	producerID identity
	batch      io.Reader
}

func (g *leaseCheckedReader) Read(b []byte) (int, error) {
	if !g.lease.held() {
		return 0, errNoLease
	}
	if g.batch == nil {
		g.batch = bytes.NewReader(encodeBatch(g.rows, g.producerID, time.Now()))
	}
	return g.batch.Read(b)
}

// An leaseResult is the journal's to a request for the lease.
type leaseResult struct {
	lease journal.RelayLease
	err   error
}

// acquireLease acquires or renews the lease when that is due.
func (r *Relay) acquireLease(ctx context.Context, now time.Time, wait func(time.Time)) {
	if r.renewing {
		return
	}
	at := r.renewAt
	if r.lease != nil && !r.lease.held() {
		at = r.requestedAt.Add(minBackoff * 10) // the clock was set
	}
	if now.Before(at) {
		wait(at)
		return
	}
	r.renewing, r.requestedAt = true, now
	r.spawn(func() any {
		lease, err := r.config.Outbox.AcquireLease(ctx)
		return leaseResult{lease, err}
	})
}

// canPublish tells whether anything can be begun, and notices the end of the lease.
func (r *Relay) canPublish(wait func(time.Time)) bool {
	if r.lease == nil {
		return false
	}
	if r.lease.held() {
		wait(r.lease.expiresAt) // only this goroutine writes it
		return true
	}
	if r.phase == leader {
		r.setPhase(leaderUnknown)
	}
	return false
}

// onLeaseResult begins, goes on, stops or waits, as the journal says.
func (r *Relay) onLeaseResult(ctx context.Context, a leaseResult) {
	r.renewing = false
	now := time.Now()
	switch {
	case a.err == nil:
		r.status.clear("lease")
		if r.lease == nil || r.lease.term != a.lease.Term {
			r.becomeLeader(ctx, a.lease.Term)
		}
		r.lease.renew(a.lease.ExpiresAt)
		r.setPhase(leader)
		r.renewAt = now.Add(max(a.lease.ExpiresAt.Sub(now)/3, minBackoff))
	case errors.Is(a.err, journal.ErrLeaseHeld):
		r.status.clear("lease")
		if r.phase != standby {
			r.log.Info("another replica publishes; this one stands by")
		}
		r.stepDown(standby)
		r.renewAt = now.Add(standbyPause)
	default:
		r.renewAt = now.Add(minBackoff * 10)
		if r.lease == nil || !r.lease.held() {
			r.setPhase(leaderUnknown)
		}
		r.status.report(r.log, "lease", "the relay lease could not be acquired; trying again", a.err)
	}
}

// becomeLeader starts from what the journal holds.
func (r *Relay) becomeLeader(ctx context.Context, term int64) {
	if r.phase == standby {
		r.log.Info("this replica publishes now")
	}
	r.stepDown(leader)
	g := &lease{term: term}
	g.ctx, g.cancel = context.WithCancel(ctx)
	r.lease = g
}

// stepDown discards all that was held: the holder of the lease finds it in the
// journal. It returns when nothing is under way any more.
func (r *Relay) stepDown(next phase) {
	r.setPhase(next)
	if r.lease == nil {
		return
	}
	r.lease.revoke()
	r.lease = nil
	for r.inFlight > 0 {
		if _, ok := (<-r.events).(leaseResult); ok {
			r.renewing = false
		}
		r.inFlight--
	}
	r.log.Warn("lost the relay lease; discarded the buffered events, which the next relay will publish", "rows", len(r.buffered))
	for name := range r.topics {
		r.metrics.blocked.WithLabelValues(name).Set(0)
	}
	r.status.reset()
	r.reset()
}

// reset makes the relay know nothing.
func (r *Relay) reset() {
	r.queues, r.topics, r.buffered = map[queueKey]*partitionQueue{}, map[string]*topic{}, map[int64]int{}
	r.bufferedBytes, r.cursor, r.acked = 0, 0, nil
	r.reading, r.stale, r.more, r.full, r.marking = false, false, true, false, false
	r.markAt, r.readAt = time.Time{}, time.Time{}
	r.metrics.buffered.Set(0)
	r.unauthentic = unauthenticRows{}
	r.countUnauthentic()
	for _, name := range r.config.topics() {
		r.topic(name) // known before the first result needs it
	}
}

// leaseLost notes that the journal refuses the term.
func (r *Relay) leaseLost(err error) bool {
	if !errors.Is(err, journal.ErrStale) {
		return false
	}
	r.stepDown(leaderUnknown)
	r.renewAt = time.Time{}
	return true
}

// releaseLease ends the lease, so that another replica can acquire it at once.
// Nothing of it is under way: connections were cut before.
func (r *Relay) releaseLease() {
	had := r.lease != nil
	if had {
		r.lease.revoke()
		r.lease = nil
	}
	r.setPhase(standby)
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
	leader
	standby
	leaderUnknown // the journal does not answer, and the lease may be over
)

func (r *Relay) setPhase(p phase) {
	r.phase = p
	r.status.setPhase(p)
	active := 0.0
	if p == leader {
		active = 1
	}
	r.metrics.leader.Set(active)
}
