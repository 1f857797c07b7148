package postgres

import (
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/pgtest"
)

// The server is lost and its standby takes over: what was acknowledged is there,
// the same replicas go on, and the ledgers wait, as nobody knows whether the
// standby had everything.
func TestAStandbyTakesOver(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	b := newBed(t, primary)
	first := b.open()
	database := first.config.Database
	b.ok(first.Close())
	standby := primary.Standby(t)
	b.url = primary.Either(standby, database)
	one, two := b.open(), b.open()
	p := permit(50, time.Minute)
	b.codes(one, 20)
	os := b.claim(one, journal.Call, 10, time.Hour)
	id, err := send(one, os[0], p)
	b.ok(err)
	primary.Down(syscall.SIGQUIT)
	if _, err := two.Stats(t.Context()); err == nil {
		t.Fatal("a read succeeded without a database")
	}
	standby.Promote(t)
	for _, j := range []*Journal{one, two} {
		b.eventually("a replica does not go on", func() bool {
			_, _, err := j.ReleaseExpiredLeases(t.Context())
			return err == nil
		})
		b.eventually("the ledger does not wait", func() bool {
			n, next, err := j.AvailablePermits(t.Context(), p)
			return err == nil && n == 0 && time.Until(next) > 0
		})
	}
	// The answer is kept, whether the replica has resumed its number or lost its claims.
	s, _, err := one.SaveResponse(t.Context(), journal.Receipt{Ref: os[0].Ref, Attempt: id, Sealed: b.sealed(os[0]), End: journal.AttemptEnd{Answered: true, At: time.Now(), Status: 200}})
	if err != nil || s != journal.Received {
		t.Fatal(s, err)
	}
	b.ok(one.Close()) // if it has resumed its number, its leases go on until then
	b.codes(two, 5)
	got := make(map[int64]bool)
	b.eventually("not all can be claimed", func() bool {
		_, _, err := two.ReleaseExpiredLeases(t.Context())
		b.ok(err)
		for _, o := range b.claim(two, journal.Call, 100, time.Hour) {
			got[o.Ref.Operation] = true
		}
		return len(got) == 24
	})
	if d, err := two.Operation(t.Context(), os[0].UUID); err != nil || d.State != journal.Received || d.Attempts != 1 {
		t.Fatalf("%+v, %v", d.OperationRecord, err)
	}
}
