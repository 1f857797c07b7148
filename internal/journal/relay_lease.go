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
	// Term is the fencing token: while it is the same and the journal stays open, no other
	// process has published in between.
	Term int64
	// ExpiresAt is when the lease ends unless it is renewed: an instant of this process,
	// and no later than the one at which another process can acquire it.
	ExpiresAt time.Time
}

// RelayLeases let only one of the processes that share the journal publish at a time.
type RelayLeases interface {
	// AcquireLease acquires the lease, or renews the one that this journal has; then Term
	// is unchanged. ErrLeaseHeld: another process has it. A lease can be acquired a few
	// seconds after its last renewal, if its process is dead, stopped or cut off. After
	// any other error the result is unknown: the earlier lease of this journal lasts until
	// its ExpiresAt.
	AcquireLease(ctx context.Context) (RelayLease, error)
	// ReleaseLease ends the lease: another process can acquire it at once. Afterwards the
	// caller must not begin to send anything that it prepared under the lease. Without a
	// lease it does nothing.
	ReleaseLease(ctx context.Context) error
	// LeaseReleased is signalled when a lease was released, if the database reports that.
	// The expiry of a lease is not signalled.
	LeaseReleased() <-chan struct{}
}
