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
	// at the releases that the journal reports.
	standbyPause = time.Second
	// releaseTimeout bounds the release of the lease.
	releaseTimeout = 2 * time.Second
)

// errNoLease says that a batch was not written, because the lease had expired.
var errNoLease = errors.New("producer: the relay lease has expired")

// A lease is one term of the relay lease. What was started under it is not written
// after its end, even if another term follows.
type lease struct {
	term   int64
	cancel context.CancelFunc // of what was started under it
	ctx    context.Context

	mu        sync.Mutex
	expiresAt time.Time
}

func (g *lease) renew(expiresAt time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expiresAt = expiresAt
}

// revoke ends the lease for good.
func (g *lease) revoke() {
	g.renew(time.Time{})
	g.cancel()
}

// held checks both clocks: the monotonic one stops while a machine is suspended, the
// wall clock can be set back.
func (g *lease) held() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	return now.Before(g.expiresAt) && now.Round(0).Before(g.expiresAt.Round(0))
}

// A leaseCheckedReader encodes a batch when its request is written to the connection:
// the last moment to check the lease, and the time that the records carry. A topic that
// bounds the age of records would refuse the older time of a batch that waited for its
// broker, or delete its records early. A broker recognizes a repeat by its sequence,
// whatever its time is.
type leaseCheckedReader struct {
	lease      *lease
	rows       []journal.OutboxRow
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

// A leaseResult is the journal's response to a request for the lease.
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

// canPublish reports whether publishing may start, and notices the end of the lease.
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

// onLeaseResult becomes leader, renews, steps down or waits, as the journal says.
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
			r.log.Info("another replica has the relay lease; standing by")
		}
		r.stepDown(standby)
		r.renewAt = now.Add(standbyPause)
	default:
		r.renewAt = now.Add(minBackoff * 10)
		if r.lease == nil || !r.lease.held() {
			r.setPhase(leaderUnknown)
		}
		r.status.report(r.log, "lease", "acquire the relay lease", a.err)
	}
}

// becomeLeader starts with what the journal holds.
func (r *Relay) becomeLeader(ctx context.Context, term int64) {
	if r.phase == standby {
		r.log.Info("acquired the relay lease; publishing")
	}
	r.stepDown(leader)
	g := &lease{term: term}
	g.ctx, g.cancel = context.WithCancel(ctx)
	r.lease = g
}

// stepDown discards everything that was buffered; the next leader reads it from the
// journal. It returns when nothing is in flight any more.
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

// reset discards everything that the relay knows.
func (r *Relay) reset() {
	r.queues, r.topics, r.buffered = map[queueKey]*partitionQueue{}, map[string]*topic{}, map[int64]int{}
	r.bufferedBytes, r.cursor, r.acked = 0, 0, nil
	r.reading, r.stale, r.more, r.full, r.marking = false, false, true, false, false
	r.markAt, r.readAt = time.Time{}, time.Time{}
	r.metrics.buffered.Set(0)
	r.unauthentic = unauthenticRows{}
	r.countUnauthentic()
	for _, name := range r.config.topics() {
		r.topic(name) // described before the first result needs it
	}
}

// leaseLost reports whether the journal refused the term, and then steps down.
func (r *Relay) leaseLost(err error) bool {
	if !errors.Is(err, journal.ErrStale) {
		return false
	}
	r.stepDown(leaderUnknown)
	r.renewAt = time.Time{}
	return true
}

// releaseLease ends the lease, so that another replica can acquire it at once. Nothing
// is in flight: the connections were closed before.
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
	starting phase = iota // the journal was not asked yet
	leader
	standby
	leaderUnknown // the journal does not answer, and the lease may have expired
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
