package postgres

import (
	"errors"
	"time"

	"invoicebox-worker/internal/journal"
)

// One of two replicas has the lease, whatever happens to its sessions. A lease that
// it released or did not renew is the other one's, and it changes nothing more.
func testRelayLease(b *bed) {
	one, two := b.open(), b.open()
	// As after many terms.
	b.server.Exec(b, one.config.Database, "UPDATE relay_lease SET term = 1000000000000")
	had, err := one.AcquireLease(b.Context())
	b.ok(err)
	b.ok(one.MarkPublished(b.Context(), []journal.Published{{Row: 1}}))
	if left := time.Until(had.ExpiresAt); left > leaseTime {
		b.Errorf("the holder considers the lease valid for %v", left)
	}
	taken := func() {
		b.Helper()
		if _, err := two.AcquireLease(b.Context()); !errors.Is(err, journal.ErrLeaseHeld) {
			b.Fatalf("two have the lease: %v", err)
		}
	}
	refused := func(what string, j *Journal) {
		b.Helper()
		// The first step after a lost session fails with that.
		b.eventually(what, func() bool {
			err := j.MarkPublished(b.Context(), []journal.Published{{Row: 1}})
			if err == nil {
				b.Fatal(what)
			}
			return errors.Is(err, journal.ErrStale)
		})
	}
	taken()
	b.end(one.config.Database)
	b.eventually("it cannot renew the lease", func() bool {
		again, err := one.AcquireLease(b.Context())
		if err == nil && again.Term != had.Term {
			b.Fatalf("%+v after %+v", again, had)
		}
		return err == nil
	})
	b.eventually("nobody answers", func() bool {
		_, err := two.Stats(b.Context())
		return err == nil
	})
	taken()

	// Released, with the session there again that is notified.
	b.eventually("it hears nothing", func() bool {
		b.ok(one.ReleaseLease(b.Context()))
		select {
		case <-two.LeaseReleased():
			return true
		case <-time.After(100 * time.Millisecond):
			_, err := one.AcquireLease(b.Context())
			b.ok(err)
			return false
		}
	})
	next, err := two.AcquireLease(b.Context())
	if b.ok(err); next.Term <= had.Term {
		b.Errorf("%+v after %+v", next, had)
	}
	if _, err := one.Pending(b.Context(), 0, 1, 1); !errors.Is(err, journal.ErrStale) {
		b.Errorf("the first one reads: %v", err)
	}
	refused("the first one marks", one)

	// Not renewed.
	began := time.Now()
	b.eventually("it does not expire", func() bool {
		_, err := one.AcquireLease(b.Context())
		return err == nil
	})
	took := time.Since(began)
	b.Logf("a lease that was not renewed was acquired after %v", took)
	if time.Now().Before(next.ExpiresAt) {
		b.Error("it was acquired while its holder considered it valid")
	}
	refused("the second one marks", two)
}

// A standby that took over lacks the term that one replica acquired. When the other
// one acquires the lease there, the term differs, and the first one is refused.
func testRelayLeaseLost(b *bed) {
	one, two := b.open(), b.open()
	was := int64(0)
	b.ok(one.readers.QueryRow(b.Context(), "SELECT term FROM relay_lease").Scan(&was))
	had, err := one.AcquireLease(b.Context())
	b.ok(err)
	_, err = two.readers.Exec(b.Context(), "UPDATE relay_lease SET term = $1, expires = 0", was)
	b.ok(err)
	got, err := two.AcquireLease(b.Context())
	b.ok(err)
	if got.Term == had.Term {
		b.Errorf("two replicas have term %d", got.Term)
	}
	if _, err := one.AcquireLease(b.Context()); !errors.Is(err, journal.ErrLeaseHeld) {
		b.Errorf("both renew the lease: %v", err)
	}
	if err := one.MarkPublished(b.Context(), []journal.Published{{Row: 1}}); !errors.Is(err, journal.ErrStale) {
		b.Errorf("both mark: %v", err)
	}
}
