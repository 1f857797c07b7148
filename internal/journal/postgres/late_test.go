package postgres

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/testutil/pgtest"
)

// quick are bounds for tests.
var quick = bounds{commit: 4 * time.Second, read: 4 * time.Second, connect: 2 * time.Second, ping: 300 * time.Millisecond, standby: 5 * time.Second}

func (b *bed) openQuick(recovers bool) (*Journal, error) {
	b.Helper()
	j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain, Recover: recovers, bounds: quick})
	if err == nil {
		b.Cleanup(func() { _ = j.Close() })
	}
	return j, err
}

func (b *bed) quick() *Journal {
	b.Helper()
	j, err := b.openQuick(false)
	b.ok(err)
	b.ok(j.EnsureAccount(b.Context(), "default", "partner-1"))
	b.ok(j.InitPositions(b.Context(), []journal.Position{{Topic: topic, Partition: 0}}))
	return j
}

// pair is a server with a follower that no commit waits for.
func pair(t *testing.T) (b *bed, primary, follower *pgtest.Server) {
	t.Helper()
	primary = pgtest.Start(t)
	b = newBed(t, primary)
	first := b.open()
	database := first.config.Database
	b.ok(first.Close())
	follower = primary.Follower(t)
	b.url = primary.Either(follower, database)
	return b, primary, follower
}

func refusedAs(err, as error) bool { return errors.Is(err, as) }

// A follower that lacks the last commits takes over: whoever is at work finds it
// and tells all, nothing more is done in it but to keep answers, and no worker
// opens it before it was recovered.
func TestALateStandbyIsRefused(t *testing.T) {
	t.Parallel()
	b, primary, follower := pair(t)
	one, two := b.quick(), b.quick()
	b.codes(one, 10)
	os := b.claim(one, journal.Call, 5, time.Hour)
	primary.CaughtUp(t, follower)
	follower.Detach(t)
	// This is lost: a request that is on its way, and records that were taken in.
	id, err := send(one, os[0], permit(50, time.Minute))
	b.ok(err)
	b.codes(one, 5)
	primary.Down(syscall.SIGQUIT)
	follower.Promote(t)

	// Two has lost nothing of its own, and is told by one.
	for name, j := range map[string]*Journal{"one": one, "two": two} {
		b.eventually(name+" goes on with a database that lacks commits", func() bool {
			_, _, err := j.ReleaseExpiredLeases(t.Context())
			return refusedAs(err, journal.ErrCopy)
		})
		if _, err := j.Ingest(t.Context(), journal.Batch{Topic: topic, From: 10, Next: 11}); !refusedAs(err, journal.ErrCopy) {
			t.Fatalf("%s takes in records: %v", name, err)
		}
		if got, err := j.Claim(t.Context(), journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Call, Limit: 9, Lease: time.Hour}); !refusedAs(err, journal.ErrCopy) {
			t.Fatalf("%s gives out work: %v, %v", name, got, err)
		}
	}
	// The answer of the request that the database does not know, twice: nobody
	// knew whether the first was kept.
	r := journal.Receipt{Ref: os[0].Ref, Attempt: id, Sealed: b.sealed(os[0]), End: journal.AttemptEnd{Answered: true, At: time.Now(), Status: 200}}
	for range 2 {
		if s, mine, err := one.SaveResponse(t.Context(), r); err != nil || mine || s != journal.Received {
			t.Fatalf("the answer: %v, %v, %v", s, mine, err)
		}
	}
	if d, err := two.Operation(t.Context(), os[0].UUID); err != nil || d.State != journal.Received || d.Attempts != 1 || len(d.Tries) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := b.openQuick(false); !refusedAs(err, journal.ErrCopy) {
		t.Fatalf("a worker opened it: %v", err)
	}
	b.recovered(func() { b.ok(one.Close()); b.ok(two.Close()) })

	three := b.quick()
	b.next = 10
	b.codes(three, 5)
	b.eventually("what was answered cannot be claimed", func() bool { return len(b.claim(three, journal.Settle, 9, time.Minute)) == 1 })
}

// recovered makes a recovery as the command does, once all workers have ended.
func (b *bed) recovered(end func()) {
	b.Helper()
	end()
	j, err := b.openQuick(true)
	b.ok(err)
	b.eventually("the recovery cannot begin", func() bool {
		_, err := j.Recover(b.Context(), func(journal.RestoredOperation) journal.Restoration { return journal.Restoration{} })
		if err != nil && !errors.Is(err, journal.ErrHeld) {
			b.Fatal(err)
		}
		return err == nil
	})
	_, err = j.EndRecovery(b.Context(), journal.RecoveryEnd{Identity: uuid.New()})
	b.ok(err)
	b.ok(j.AppendAudit(b.Context(), journal.AuditEntry{Act: "still here"}))
	b.ok(j.Close())
}

// A process that slept through the recovery wakes up as a stranger.
func TestARecoveryIsNotSleptThrough(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	b := newBed(t, server)
	asleep := b.quick()
	b.ok(asleep.session.conn.Close(context.Background()))
	asleep.session.cancel()
	<-asleep.session.done
	b.recovered(func() {})
	if _, _, err := asleep.SaveResponse(t.Context(), journal.Receipt{}); err == nil {
		t.Fatal("an empty answer was kept")
	}
	asleep.end(t, server)
	b.eventually("it goes on with a journal that is another", func() bool {
		return refusedAs(asleep.SetKeysetCheck(t.Context(), []byte("x")), journal.ErrCopy)
	})
}

func (j *Journal) end(t *testing.T, server *pgtest.Server) {
	t.Helper()
	server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+j.config.Database+"'")
}

// A follower that nobody had to wait for has all the same everything: when each
// replica has looked, work goes on with nobody's help.
func TestAStandbyThatLostNothingGoesOn(t *testing.T) {
	t.Parallel()
	b, primary, follower := pair(t)
	one, two := b.quick(), b.quick()
	b.codes(one, 10)
	b.codes(two, 10)
	primary.CaughtUp(t, follower)
	primary.Down(syscall.SIGQUIT)
	follower.Promote(t)
	began := time.Now()
	for _, j := range []*Journal{one, two} {
		b.eventually("a replica does not go on", func() bool {
			_, _, err := j.ReleaseExpiredLeases(t.Context())
			if refusedAs(err, journal.ErrCopy) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	t.Logf("all go on %v after the promotion", time.Since(began))
	b.codes(two, 5)
	third := b.quick()
	if n, next, err := third.AvailablePermits(t.Context(), permit(5, time.Minute)); err != nil || n != 0 || time.Until(next) < 30*time.Second {
		t.Fatalf("the ledger does not wait: %d, %v, %v", n, next, err)
	}
}

// A replica is gone with the primary, and no commit had to reach the follower:
// nobody knows what it did last. All wait for it, and then it is refused.
func TestAMissingReplicaIsWaitedFor(t *testing.T) {
	t.Parallel()
	b, primary, follower := pair(t)
	gone, left := b.quick(), b.quick()
	b.codes(gone, 10)
	primary.CaughtUp(t, follower)
	primary.Down(syscall.SIGQUIT)
	gone.vanish()
	follower.Promote(t)
	waited := false
	b.eventually("it is not refused", func() bool {
		_, _, err := left.ReleaseExpiredLeases(t.Context())
		if err == nil {
			t.Fatal("it goes on without one that may have done more")
		}
		waited = waited || errors.Is(err, errMoved)
		return refusedAs(err, journal.ErrCopy)
	})
	if !waited {
		t.Error("it did not wait")
	}
	if _, err := b.openQuick(false); !refusedAs(err, journal.ErrCopy) {
		t.Fatalf("a worker opened it: %v", err)
	}
}

// The same with a standby that each commit waited for: nothing can be missing.
func TestAMissingReplicaOfASynchronousStandby(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	b := newBed(t, primary)
	first := b.open()
	database := first.config.Database
	b.ok(first.Close())
	standby := primary.Standby(t)
	b.eventually("commits do not wait for it", func() bool {
		return primary.Ask(t, "postgres", "SELECT count(*)::text FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
	})
	b.url = primary.Either(standby, database)
	gone, left := b.quick(), b.quick()
	b.codes(gone, 10)
	primary.Down(syscall.SIGQUIT)
	gone.vanish()
	standby.Promote(t)
	b.eventually("it does not go on", func() bool {
		_, _, err := left.ReleaseExpiredLeases(t.Context())
		if refusedAs(err, journal.ErrCopy) || errors.Is(err, errMoved) {
			t.Fatal(err)
		}
		return err == nil
	})
	b.ok(b.quick().Close())
}
