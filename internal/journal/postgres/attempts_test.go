package postgres

import (
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/pgtest"
)

// An attempt's begin and its response take two round trips each: what they need is
// loaded when the transaction is opened, and saved with the commit.
func TestAttemptsTakeTwoRoundTrips(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	j := b.open()
	b.codes(j, 2)
	for i, o := range b.claim(j, journal.Call, 2, time.Hour) {
		_, before := j.Statements()
		s := journal.AttemptStart{Ref: o.Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Minute, Permits: []journal.Permit{permit(50, time.Minute)},
			Address: &journal.AddressRule{MAC: o.SubjectMAC, MACs: [][]byte{o.SubjectMAC}, CoolDown: time.Hour}}
		id, err := j.BeginAttempt(b.Context(), s)
		b.ok(err)
		_, begun := j.Statements()
		_, mine, err := j.SaveResponse(b.Context(), journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: b.sealed(o), End: journal.AttemptEnd{Answered: true, At: time.Now(), Status: 200}})
		b.ok(err)
		_, saved := j.Statements()
		if !mine {
			t.Fatal("the response is not the caller's")
		}
		// The first time the ledger has to be made.
		if i > 0 && begun-before != 2 || saved-begun != 2 {
			t.Errorf("the begin took %d round trips, the response %d", begun-before, saved-begun)
		}
	}
}
