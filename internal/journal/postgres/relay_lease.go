package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
)

const (
	// leaseTime is how long the relay lease lasts, by the database's clock, after it
	// was acquired or renewed.
	leaseTime = 5 * time.Second
	// leaseMargin is how much earlier its holder considers it expired: the two
	// clocks need not run equally fast.
	leaseMargin = 500 * time.Millisecond
	// leaseTimeout bounds one request for the lease.
	leaseTimeout = 3 * time.Second
)

// The database's clock is read when the row is locked. Each is one statement
// without a transaction around it, so that a process that is stopped does not
// keep the row locked.
const (
	presentLease = "coalesce($1::bigint, " + serverClock + ")"
	// A new term is increased by a random number: a standby that took over may lack
	// a term that was acquired, and must not assign it a second time.
	acquireLease = "UPDATE relay_lease SET expires = " + presentLease + ` + $2, term = CASE WHEN term = $3 AND expires > 0 THEN term ELSE term + 1 + floor(random() * 1000000000)::bigint END
		WHERE (term = $3 AND expires > 0 OR expires <= ` + presentLease + ") AND $4 >= (SELECT max(readable_by) FROM schema_version) RETURNING term"
	// A lease that expires later than leaseTime from now was renewed before the
	// clock was set back. It is shortened to leaseTime.
	boundLease   = "UPDATE relay_lease SET expires = " + presentLease + " + $2 WHERE expires > " + presentLease + " + $2"
	newerTables  = "SELECT max(readable_by) > $1 FROM schema_version"
	releaseLease = "WITH r AS (UPDATE relay_lease SET expires = 0, term = term + 1 WHERE term = $1 RETURNING term) SELECT pg_notify($2, '0 t') FROM r"
)

// AcquireLease acquires or renews the relay lease. It does not wait behind the
// writer's transactions.
func (j *Journal) AcquireLease(ctx context.Context) (journal.RelayLease, error) {
	if j.beside {
		return journal.RelayLease{}, journal.ErrReadOnly
	}
	if j.closed.Load() {
		return journal.RelayLease{}, journal.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	asked := j.clock.now() // the database reads its clock later
	l := journal.RelayLease{ExpiresAt: asked.Add(leaseTime - leaseMargin)}
	err := j.readers.QueryRow(ctx, acquireLease, j.clock.given(), leaseTime.Microseconds(), j.term.Load(), j.knows).Scan(&l.Term)
	if errors.Is(err, pgx.ErrNoRows) {
		return journal.RelayLease{}, j.refuseLease(ctx)
	}
	if err != nil {
		return journal.RelayLease{}, fmt.Errorf("journal: acquire the relay lease: %w", readable(err))
	}
	j.term.Store(l.Term)
	return l, nil
}

// refuseLease returns why the lease cannot be acquired.
func (j *Journal) refuseLease(ctx context.Context) error {
	newer := false
	_, err := j.readers.Exec(ctx, boundLease, j.clock.given(), leaseTime.Microseconds())
	if err == nil {
		err = j.readers.QueryRow(ctx, newerTables, j.knows).Scan(&newer)
	}
	switch {
	case err != nil:
		return fmt.Errorf("journal: acquire the relay lease: %w", readable(err))
	case newer:
		return journal.ErrNewer
	}
	return journal.ErrLeaseHeld
}

// ReleaseLease ends the relay lease and notifies the other replicas.
func (j *Journal) ReleaseLease(ctx context.Context) error {
	if j.beside {
		return journal.ErrReadOnly
	}
	if j.closed.Load() {
		return journal.ErrClosed
	}
	term := j.term.Load()
	if term == 0 {
		return nil
	}
	if _, err := j.readers.Exec(ctx, releaseLease, term, j.channel); err != nil {
		return fmt.Errorf("journal: release the relay lease: %w", readable(err))
	}
	return nil
}

// LeaseReleased is signalled when another replica released the lease, and when a
// notification may have been missed.
func (j *Journal) LeaseReleased() <-chan struct{} { return j.freed }
