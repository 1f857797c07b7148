package journal

import (
	"context"
	"errors"
	"time"
)

// ErrLeaseHeld reports that another process has the relay lease.
var ErrLeaseHeld = errors.New("journal: another replica publishes")

// A RelayLease is the right to publish the outbox.
type RelayLease struct {
	// Term is the fencing token: as long as it is the same while the journal is
	// open, no other process has published in between.
	Term int64
	// ExpiresAt is when the lease ends unless it is renewed before: an instant of
	// this process, and no later than the one at which another can acquire it.
	ExpiresAt time.Time
}

// RelayLeases let only one of the processes that share the journal publish at a time.
type RelayLeases interface {
	// AcquireLease acquires the lease, or renews the one that this journal has:
	// then Term stays. ErrLeaseHeld while another process has it. A lease that was
	// not renewed, by a process that is dead, stopped or cut off, can be acquired a
	// few seconds after it was renewed last. After another error nothing is known:
	// the lease that this journal had holds until its ExpiresAt.
	AcquireLease(ctx context.Context) (RelayLease, error)
	// ReleaseLease ends the lease: another process can acquire it at once. Nothing
	// that was begun under it may begin to be sent afterwards. Without a lease it
	// does nothing.
	ReleaseLease(ctx context.Context) error
	// LeaseReleased is signalled when a lease was released, as far as the database
	// reports it: the expiry of a lease is not signalled.
	LeaseReleased() <-chan struct{}
}
