package sqlite

import (
	"context"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

// leaseTime is how long the relay lease lasts. Its end has no effect, because
// no other process can have the file.
const leaseTime = time.Hour

// A relayLease belongs to the process that holds the file.
type relayLease struct {
	mu       sync.Mutex
	term     int64
	released bool
}

// valid reports whether the outbox may be read and marked. A process that never acquired
// the lease may do both.
func (l *relayLease) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.released
}

// AcquireLease acquires or renews the relay lease. It is never refused, because
// one process holds the file.
func (j *Journal) AcquireLease(ctx context.Context) (journal.RelayLease, error) {
	if j.writer == nil {
		return journal.RelayLease{}, journal.ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return journal.RelayLease{}, err
	}
	if j.queue.Closed() {
		return journal.RelayLease{}, journal.ErrClosed
	}
	j.lease.mu.Lock()
	defer j.lease.mu.Unlock()
	if j.lease.term == 0 || j.lease.released {
		j.lease.term++
		j.lease.released = false
	}
	return journal.RelayLease{Term: j.lease.term, ExpiresAt: j.clock.now().Add(leaseTime)}, nil
}

// ReleaseLease ends the relay lease.
func (j *Journal) ReleaseLease(context.Context) error {
	if j.writer == nil {
		return journal.ErrReadOnly
	}
	if j.queue.Closed() {
		return journal.ErrClosed
	}
	j.lease.mu.Lock()
	defer j.lease.mu.Unlock()
	j.lease.released = j.lease.term != 0
	return nil
}

// LeaseReleased is never signalled: no other process waits for the lease.
func (j *Journal) LeaseReleased() <-chan struct{} { return nil }
