package postgres

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
)

// within waits for a signal.
func within(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatal(what)
	}
}

func emptied(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func testNotify(b *bed) {
	one, two := b.open(), b.open()
	beside, err := Open(b.Context(), Options{URL: b.url, ReadOnly: true})
	b.ok(err)
	b.Cleanup(func() { b.ok(beside.Close()) })
	ask := func(j *Journal) journal.Intent {
		i := journal.Intent{UUID: uuid.New(), Act: "pause", Account: "default"}
		b.ok(j.AppendIntent(b.Context(), i, journal.AuditEntry{Act: "asked"}))
		return i
	}
	for _, from := range []*Journal{one, beside} {
		i := ask(from)
		within(b, one.IntentsChanged(), "a replica was not told of an intent")
		within(b, two.IntentsChanged(), "the other replica was not told of an intent")
		waiting, err := two.PendingIntents(b.Context(), 10, nil)
		if err != nil || len(waiting) != 1 || waiting[0].UUID != i.UUID {
			b.Fatalf("waiting are %+v, %v", waiting, err)
		}
		// Two replicas look at it; one of them ends it.
		end := journal.IntentEnd{ID: waiting[0].ID, State: journal.IntentPerformed, Circuit: &journal.Circuit{State: journal.CircuitPaused, Reason: "operator"}, Audit: journal.AuditEntry{Act: "performed"}}
		emptied(one.Changed())
		b.ok(two.EndIntent(b.Context(), end))
		if err := one.EndIntent(b.Context(), end); !errors.Is(err, journal.ErrStale) {
			b.Fatalf("it ended twice: %v", err)
		}
		within(b, one.Changed(), "a replica was not told of the circuit breaker")
		as, err := one.Accounts(b.Context())
		if err != nil || as[0].Circuit.State != journal.CircuitPaused {
			b.Fatalf("%+v, %v", as, err)
		}
	}
}

func testRecovering(b *bed) {
	one, two := b.open(), b.open()
	if _, err := one.Recover(b.Context(), nil); !errors.Is(err, journal.ErrHeld) {
		b.Fatalf("a recovery beside another replica: %v", err)
	}
	b.ok(two.Close())
	b.eventually("the recovery cannot begin", func() bool {
		_, err := one.Recover(b.Context(), func(journal.RestoredOperation) journal.Restoration { return journal.Restoration{} })
		return err == nil
	})
	if j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain}); !errors.Is(err, journal.ErrCopy) {
		if err == nil {
			_ = j.Close()
		}
		b.Fatalf("a worker opened what is being recovered: %v", err)
	}
	if _, err := one.EndRecovery(b.Context(), journal.RecoveryEnd{Identity: uuid.New()}); err != nil {
		b.Fatal(err)
	}
	b.ok(one.Close())
	if b.open().Identity() == one.Identity() {
		b.Fatal("the identity stayed")
	}
}

// A copy of the database by means that do not mark it: what was sent since is
// not known.
func testMoved(b *bed) {
	j, p := b.open(), permit(5, time.Minute)
	if n, _, err := j.AvailablePermits(b.Context(), p); err != nil || n != 5 {
		b.Fatal(n, err)
	}
	b.ok(j.Close())
	config := j.config.Database
	b.url = b.server.Database(b, config)
	if n, _, err := b.open().AvailablePermits(b.Context(), p); err != nil || n != 0 {
		b.Fatalf("%d permits are free, %v", n, err)
	}
}

// The server's own word for it stands for a disk that is really full.
func testFull(b *bed) {
	j := b.open()
	b.codes(j, 3)
	database := j.config.Database
	b.server.Exec(b, database, "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$")
	b.server.Exec(b, database, "CREATE TRIGGER full_disk BEFORE UPDATE ON operation EXECUTE FUNCTION full_disk()")
	r := journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Call, Limit: 3, Lease: time.Minute}
	if _, err := j.Claim(b.Context(), r); !errors.Is(err, journal.ErrFull) {
		b.Fatalf("error is %v", err)
	}
	b.server.Exec(b, database, "DROP TRIGGER full_disk ON operation")
	if got, err := j.Claim(b.Context(), r); err != nil || len(got) != 3 {
		b.Fatal(len(got), err)
	}
}

// Replicas that begin together after the clock went back: one of them, whichever
// it is, makes the waits count from now.
func testTogether(b *bed) {
	var mu sync.Mutex
	at := time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return at
	}
	open := func() *Journal {
		j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain, Now: now})
		if err != nil {
			b.Error(err)
			return nil
		}
		b.Cleanup(func() { _ = j.Close() })
		return j
	}
	j := open()
	b.ok(j.EnsureAccount(b.Context(), "default", "partner-1"))
	b.ok(j.InitPositions(b.Context(), []journal.Position{{Topic: topic}}))
	b.codes(j, 1)
	o := b.claim(j, journal.Call, 1, time.Minute)[0]
	b.ok(j.Apply(b.Context(), journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Waiting, Due: now().Add(2 * time.Minute)}))
	b.ok(j.Close())
	mu.Lock()
	at = at.Add(-48 * time.Hour)
	mu.Unlock()
	var all sync.WaitGroup
	js := make([]*Journal, 4)
	for i := range js {
		all.Go(func() { js[i] = open() })
	}
	all.Wait()
	if b.Failed() {
		return
	}
	due, err := js[0].Due(b.Context())
	if err != nil || len(due) != 1 || due[0].At.Sub(now()) != 2*time.Minute {
		b.Fatalf("due is %+v at %v, %v", due, now(), err)
	}
}
