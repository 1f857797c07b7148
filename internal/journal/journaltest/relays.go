package journaltest

import (
	"context"
	"errors"
	"time"

	"invoicebox-worker/internal/journal"
)

// relays: one process at a time publishes.
var relays = []part{
	// The holder renews the lease.
	{"HolderRenews", func(f *fixture) {
		first := leaseOf(f)
		for range 3 {
			f.clock.advance(time.Second)
			if again := leaseOf(f); again.Term != first.Term || !again.ExpiresAt.After(f.clock.now().Add(time.Second)) {
				f.Fatalf("%+v after %+v at %v", again, first, f.clock.now())
			}
		}
		fill(f, 2)
		out := pending(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: out[0].Row, Offset: -1}}))
		if left := pending(f); len(left) != 1 || left[0].Row != out[1].Row {
			f.Fatalf("left are %+v", left)
		}
	}},
	// A lease that has expired is renewed as long as nobody else acquired it.
	{"ExpiredLeaseRenewed", func(f *fixture) {
		first := leaseOf(f)
		f.clock.advance(2 * time.Hour)
		if again := leaseOf(f); again.Term != first.Term || !again.ExpiresAt.After(f.clock.now()) {
			f.Fatalf("%+v after %+v", again, first)
		}
		_, err := f.j.Pending(f.ctx, 0, 1, 1)
		f.ok(err)
	}},
	// A lease that was released is over.
	{"ReleasedLeaseEnds", func(f *fixture) {
		fill(f, 3)
		f.ok(f.j.ReleaseLease(f.ctx)) // none was acquired
		all := pending(f)
		first := leaseOf(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[0].Row}}))
		f.ok(f.j.ReleaseLease(f.ctx))
		f.ok(f.j.ReleaseLease(f.ctx))
		_, err := f.j.Pending(f.ctx, 0, 10, 1<<20)
		want(f.T, err, journal.ErrStale)
		_, err = f.j.Pending(f.ctx, all[2].Row, 10, 1<<20) // where nothing waits, too
		want(f.T, err, journal.ErrStale)
		want(f.T, f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[1].Row}}), journal.ErrStale)
		if second := leaseOf(f); second.Term == first.Term {
			f.Fatalf("two leases have term %d", first.Term)
		}
		if left := pending(f); len(left) != 2 || left[0].Row != all[1].Row {
			f.Fatalf("left are %+v", left)
		}
	}},
	// A dead process's lease expires within a few seconds.
	{"DeadProcess", func(f *fixture) {
		fill(f, 3)
		leaseOf(f)
		all := pending(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[0].Row}}))
		f.crash()
		f.clock.advance(10 * time.Second)
		leaseOf(f)
		left := pending(f)
		if len(left) != 2 {
			f.Fatalf("left are %+v", left)
		}
		diff(f.T, all[1:], left)
	}},
	// A clock that went back does not prolong the lease for long.
	{"ClockSetBack", func(f *fixture) {
		leaseOf(f)
		f.crash()
		f.clock.advance(-24 * time.Hour)
		// The lease is requested every second.
		for i := 0; ; i++ {
			_, err := f.j.AcquireLease(f.ctx)
			if err == nil {
				return
			}
			want(f.T, err, journal.ErrLeaseHeld)
			if i > 10 {
				f.Fatal("nobody can have it")
			}
			f.clock.advance(time.Second)
		}
	}},
	// A call whose context has ended acquires none.
	{"EndedContext", func(f *fixture) {
		ended, end := context.WithCancel(f.ctx)
		end()
		if _, err := f.j.AcquireLease(ended); !errors.Is(err, context.Canceled) {
			f.Fatalf("error is %v", err)
		}
	}},
}

func leaseOf(f *fixture) journal.RelayLease {
	f.Helper()
	l, err := f.j.AcquireLease(f.ctx)
	f.ok(err)
	return l
}
