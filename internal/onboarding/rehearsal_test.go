package onboarding

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// A rehearsal remembers a number of events. Those after them are planned, and not
// remembered.
func TestRehearsal_Bound(t *testing.T) {
	plan := func(journal.Event, journal.ShopView) journal.Plan {
		return journal.Plan{New: &journal.NewOperation{UUID: uuid.New()}}
	}
	r := NewRehearsal(plan, time.Now)
	if r.limit != 100_000 { // docs/operations.md says so
		t.Errorf("it remembers %d events", r.limit)
	}
	r.limit = 2
	event := func(n int) Rehearsed {
		e := journal.Event{Identity: [32]byte{byte(n)}, Kind: journal.Activate, Shop: journal.ShopKey{Account: "a", Shop: fmt.Sprint(n)}}
		e.Digests, e.SubjectMACs = [][]byte{{1}}, [][]byte{{byte(n)}}
		return r.Event(e, journal.Preview{})
	}
	for _, x := range []struct {
		event int
		step  RehearsedStep
		alone bool
	}{{1, RehearsedActivate, false}, {2, RehearsedActivate, false}, {1, RehearsedRepeat, false}, {3, RehearsedActivate, true}, {3, RehearsedActivate, true}, {2, RehearsedRepeat, false}} {
		if got := event(x.event); got.Step != x.step || got.NotRemembered != x.alone {
			t.Errorf("event %d: %+v", x.event, got)
		}
	}
	for i := range 100 {
		event(10 + i)
	}
	open := make([]journal.OperationView, 3)
	for i := range open {
		open[i] = journal.OperationView{ID: int64(1 + i), Kind: journal.Invite, State: journal.Planned}
	}
	if got := r.Deselect(journal.ShopKey{Account: "a", Shop: "deselected"}, journal.Preview{View: journal.ShopView{Open: open}}); got.Cancels != 3 || len(r.canceled) > 2 {
		t.Errorf("%+v; it remembers %d canceled operations", got, len(r.canceled))
	}
	if len(r.seen) > 2 || len(r.byID) > 2 || len(r.byShop) > 2 || len(r.bySubject) > 2 {
		t.Errorf("it remembers %d events, %d operations, %d shops and %d subjects", len(r.seen), len(r.byID), len(r.byShop), len(r.bySubject))
	}
}
