package journaltest

import (
	"context"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
)

var lanes = []part{
	// A shop has one operation at a time, in order.
	{"OneAtATime", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"), f.code("s", "e2", "2"), f.address("s", "e3", "a@x.test"), f.code("s", "e4", "4"))
		for i, kind := range []journal.Kind{journal.Activate, journal.Activate, journal.Invite, journal.Activate} {
			other := journal.Invite + journal.Activate - kind
			f.idle(other, journal.Call)
			o := f.claimed(kind, journal.Call)
			if want := fmt.Sprint("e", i+1); o.EventID != want {
				f.Fatalf("claimed %s, want %s", o.EventID, want)
			}
			f.idle(kind, journal.Call)
			f.finish(o)
		}
	}},
	// Shops do not wait for each other.
	{"ShopsAreIndependent", func(f *fixture) {
		f.ingest(f.address("s1", "e1", "a@x.test"), f.address("s2", "e2", "a@x.test"), f.address("s1", "e3", "b@x.test"))
		if got := f.claim(journal.Invite, journal.Call, 10); len(got) != 2 {
			f.Fatalf("claimed %d, want one of each shop", len(got))
		}
	}},
	// Shops of two accounts are two.
	{"AccountsAreIndependent", func(f *fixture) {
		f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
		second := journal.ShopKey{Account: "second", Shop: "s"}
		f.ingest(f.code("s", "e1", "1"), MakeEvent(f.T, f.keys, journal.Activate, second, "e2", "1", f.clock.now()))
		if o := f.claimed(journal.Activate, journal.Call); o.Shop.Account != account {
			f.Fatalf("claimed %+v", o.Shop)
		}
		got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: "second", Kind: journal.Activate, Stage: journal.Call, Limit: 5, Lease: time.Minute})
		f.ok(err)
		if len(got) != 1 || got[0].Shop != second {
			f.Fatalf("claimed %+v", got)
		}
	}},
	// What holds the lane.
	{"HoldersOfLane", func(f *fixture) {
		// Brings the first of two operations into each state.
		states := []struct {
			to    journal.State
			holds bool
		}{
			{journal.Planned, true}, {journal.Waiting, true}, {journal.Unknown, true}, {journal.Received, true}, {journal.Stored, false},
			{journal.Attention, false}, {journal.Done, false}, {journal.Superseded, false},
		}
		for i, s := range states {
			shop := fmt.Sprint("s", i)
			o, id := f.sending(f.code(shop, shop+"-1", shop+"-1"))
			f.ingest(f.code(shop, shop+"-2", shop+"-2"))
			tr := journal.Transition{Ref: o.Ref, From: journal.Sending, To: s.to, Due: f.clock.now().Add(time.Hour), Attempt: id, End: f.answered(200)}
			signalled(f.j.Changed())
			f.apply(tr)
			got := f.claim(journal.Activate, journal.Call, 10)
			if free := len(got) == 1 && got[0].EventID == shop+"-2"; free == s.holds || len(got) > 1 {
				f.Errorf("in %v: claimed %+v", s.to, got)
			}
			if !s.holds && !signalled(f.j.Changed()) {
				f.Errorf("in %v: the next operation became due without a signal", s.to)
			}
			for _, o := range got {
				f.finish(o)
			}
			if s.holds != s.to.HoldsLane() {
				f.Errorf("%v: the test and the contract differ", s.to)
			}
		}
	}},
	// An operation that returns to a taken lane is queued.
	{"LaneTaken", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Attention, Reason: "outcome_unknown", Attempt: id, End: f.answered(500)})
		f.ingest(f.code("s", "e2", "2"))
		second := f.claimed(journal.Activate, journal.Call)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Attention, To: journal.Planned})
		f.wantState(o.UUID, journal.Queued)
		f.idle(journal.Activate, journal.Call)
		f.finish(second)
		if again := f.claimed(journal.Activate, journal.Call); again.UUID != o.UUID {
			f.Fatalf("claimed %+v", again)
		}
	}},
	// A run that starts again queues up.
	{"RunAgainQueues", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		first := f.claimed(journal.Activate, journal.Call)
		f.finish(first)
		f.ingest(f.code("s", "e2", "2"))
		second := f.claimed(journal.Activate, journal.Call)
		f.ingest(f.code("s", "e3", "1"))
		f.wantState(first.UUID, journal.Queued)
		f.finish(second)
		if again := f.claimed(journal.Activate, journal.Call); again.UUID != first.UUID || again.Run != 2 {
			f.Fatalf("claimed %+v", again)
		}
	}},
	// A run that starts again comes after what was there before.
	{"RunAgainIsLast", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		f.finish(f.claimed(journal.Activate, journal.Call))
		f.ingest(f.address("s", "e2", "a@x.test"), f.code("s", "e3", "3"), f.code("s", "e4", "1"), f.code("s", "e5", "5"))
		for i, kind := range []journal.Kind{journal.Invite, journal.Activate, journal.Activate, journal.Activate} {
			o := f.claimed(kind, journal.Call)
			if want := fmt.Sprint("e", i+2); o.EventID != want {
				f.Fatalf("claimed %s, want %s", o.EventID, want)
			}
			f.finish(o)
		}
	}},
	// A late receipt does not start a second call.
	{"LateResponseSendsNothing", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Attention, Reason: "outcome_unknown", Doubt: true})
		f.ingest(f.code("s", "e2", "2"), f.code("s", "e3", "3"))
		second := f.claimed(journal.Activate, journal.Call)
		if s, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "late")); err != nil || s != journal.Received {
			f.Fatal(s, err)
		}
		// Two are in the lane now; the end of neither starts a third beside the other.
		f.finish(second)
		f.idle(journal.Activate, journal.Call)
		settle := f.claimed(journal.Activate, journal.Settle)
		f.apply(journal.Transition{Ref: settle.Ref, From: journal.Received, To: journal.Done})
		if third := f.claimed(journal.Activate, journal.Call); third.EventID != "e3" {
			f.Fatalf("claimed %+v", third)
		}
	}},
	// An invitation knows of an activation before its end, and lets codes go first.
	{"CodesGoFirst", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.ingest(f.address("s", "e2", "a@x.test"))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 1, "m-1"), Due: f.clock.now().Add(time.Hour)})
		invite := f.claimed(journal.Invite, journal.Call)
		if !invite.Activating || invite.Active != nil {
			f.Fatalf("claimed %+v", invite)
		}
		// Alone it waits its time.
		behind := journal.Transition{Ref: invite.Ref, From: journal.Claimed, To: journal.Planned, Behind: true, Due: f.clock.now().Add(5 * time.Second)}
		f.apply(behind)
		f.idle(journal.Invite, journal.Call)
		f.clock.advance(5 * time.Second)
		invite = f.claimed(journal.Invite, journal.Call)
		f.ingest(f.code("s", "e3", "3"), f.address("s", "e4", "b@x.test"))
		behind.Ref, behind.Due = invite.Ref, f.clock.now().Add(5*time.Second)
		f.apply(behind)
		f.finish(f.claimed(journal.Activate, journal.Call))
		// Two that wait for the same do not wake each other.
		second := f.claimed(journal.Invite, journal.Call)
		if second.UUID == invite.UUID || !second.Activating {
			f.Fatalf("claimed %+v", second)
		}
		behind.Ref = second.Ref
		f.apply(behind)
		f.idle(journal.Invite, journal.Call)
		// It was never sent: another choice of provider ends it in any state.
		_, err = f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: f.next, Next: f.next, Deselected: []journal.ShopKey{shopKey("s")}})
		f.ok(err)
		f.wantState(invite.UUID, journal.Superseded)
		f.wantState(second.UUID, journal.Superseded)
		f.ingest(f.address("t", "e5", "c@x.test"))
		if other := f.claimed(journal.Invite, journal.Call); other.Activating {
			f.Fatalf("claimed %+v", other)
		}
	}},
	// An invitation that begins again is canceled by a choice in the same transaction.
	{"DeselectedInSameTransaction", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		o := f.claimed(journal.Invite, journal.Call)
		f.finish(o)
		errs := f.together(
			func(ctx context.Context) error {
				return f.j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Done, To: journal.Planned, NewRun: true})
			},
			func(ctx context.Context) error {
				_, err := f.j.Ingest(ctx, journal.Batch{Topic: topic, From: f.next, Next: f.next, Deselected: []journal.ShopKey{shopKey("s")}})
				return err
			})
		for _, err := range errs {
			f.ok(err)
		}
		f.wantState(o.UUID, journal.Superseded)
	}},
	// No invitation passes the codes that the planner does not see.
	{"UnseenCodesGoFirst", func(f *fixture) {
		const n = 70 // more than the planner sees
		var es []journal.Event
		for i := range n {
			es = append(es, f.code("s", fmt.Sprint("e", i), fmt.Sprint("code", i)))
		}
		f.ingest(append(es, f.address("s", "later", "a@x.test"))...)
		cancelled := 0
		f.plan = func(_ journal.Event, v journal.ShopView) (p journal.Plan) {
			for _, o := range v.Open {
				if o.Kind == journal.Activate {
					p.Cancel = append(p.Cancel, o.ID)
				}
			}
			cancelled = len(p.Cancel)
			return p
		}
		f.ingest(f.address("s", "cancels", "b@x.test"))
		if cancelled == 0 || cancelled >= n {
			f.Fatalf("the planner saw %d codes", cancelled)
		}
		f.idle(journal.Invite, journal.Call)
		if o := f.claimed(journal.Activate, journal.Call); o.EventID != fmt.Sprint("e", cancelled) {
			f.Fatalf("claimed %s", o.EventID)
		}
	}},
	// A long lane keeps its order.
	{"LongLane", func(f *fixture) {
		const n = 200
		var es []journal.Event
		for i := range n {
			es = append(es, f.code("s", fmt.Sprint("e", i), fmt.Sprint("code", i)))
		}
		f.ingest(es...)
		for i := range n {
			o := f.claimed(journal.Activate, journal.Call)
			if want := fmt.Sprint("e", i); o.EventID != want {
				f.Fatalf("claimed %s, want %s", o.EventID, want)
			}
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done})
		}
		f.idle(journal.Activate, journal.Call)
	}},
}
