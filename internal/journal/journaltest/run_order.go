package journaltest

import (
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
)

// runOrder: the lane has the order in which runs began, whatever the operations' ages.
var runOrder = []part{
	// A run that starts again stands behind what came before it.
	{"RunAgainIsLast", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		f.finish(f.claimed(journal.Activate, journal.Call))
		f.ingest(f.code("s", "e2", "2"), f.address("s", "e3", "a@x.test"), f.code("s", "e4", "4"))
		second := f.claimed(journal.Activate, journal.Call)
		// The oldest operation begins its next run, behind one of each kind.
		f.ingest(f.code("s", "e5", "1"), f.address("s", "e6", "b@x.test"))
		f.finish(second)
		for _, want := range []struct {
			kind  journal.Kind
			event string
		}{{journal.Invite, "e3"}, {journal.Activate, "e4"}, {journal.Activate, "e5"}, {journal.Invite, "e6"}} {
			f.idle(journal.Invite+journal.Activate-want.kind, journal.Call)
			o := f.claimed(want.kind, journal.Call)
			if o.EventID != want.event {
				f.Fatalf("claimed %s, want %s", o.EventID, want.event)
			}
			f.finish(o)
		}
	}},
	// The planner sees what is open in the order of the runs.
	{"PlannerOrder", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		f.finish(f.claimed(journal.Activate, journal.Call))
		f.ingest(f.code("s", "e2", "2"), f.code("s", "e3", "3"), f.code("s", "e4", "1"))
		var seen []time.Time
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			seen = nil
			for _, o := range v.Open {
				seen = append(seen, o.EventTime)
			}
			return Plain(e, v)
		}
		f.clock.advance(time.Second)
		f.ingest(f.code("s", "e5", "5"))
		f.ingest(f.code("s", "e6", "6"))
		if len(seen) != 4 || !seen[3].After(seen[2]) {
			f.Fatalf("the planner sees %v", seen)
		}
	}},
	// A person's run stands behind the events taken before it.
	{"OperatorRun", func(f *fixture) {
		first, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: first.Ref, From: journal.Sending, To: journal.Attention, Reason: "request_rejected", Attempt: id, End: f.answered(403)})
		f.ingest(f.code("s", "e2", "2"), f.code("s", "e3", "3"))
		second := f.claimed(journal.Activate, journal.Call)
		f.clock.advance(time.Second)
		f.apply(journal.Transition{Ref: first.Ref, From: journal.Attention, To: journal.Planned, NewRun: true})
		f.wantState(first.UUID, journal.Queued)
		f.ingest(f.code("s", "e4", "4"))
		f.finish(second)
		for i, want := range []string{"e3", "e1", "e4"} {
			o := f.claimed(journal.Activate, journal.Call)
			if o.EventID != want {
				f.Fatalf("claimed %s, want %s", o.EventID, want)
			}
			if run := 1 + i%2; o.Run != run || i == 1 && (!o.Planned.Equal(f.clock.now()) || o.Waits != 0 || o.Unknowns != 0) {
				f.Fatalf("%s: %+v", fmt.Sprint(want), o)
			}
			f.finish(o)
		}
	}},
	// A probe that a person asks for is one.
	{"RequestedProbe", func(f *fixture) {
		settle := unknown(f, "s", "1")
		f.apply(journal.Transition{Ref: settle.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		other, id := f.sending(f.code("t", "f1", "7"))
		f.apply(journal.Transition{Ref: other.Ref, From: journal.Sending, To: journal.Attention, Reason: "outcome_unknown", Doubt: true, Attempt: id, End: f.answered(503)})
		for _, ref := range []journal.ClaimRef{settle.Ref, other.Ref} {
			f.apply(journal.Transition{Ref: ref, From: journal.Attention, To: journal.Planned, NewRun: true, Probe: true})
		}
		for _, again := range f.claim(journal.Activate, journal.Call, 10) {
			if again.Run != 2 || again.Unknowns != 1 || !again.Doubt {
				f.Errorf("%s: %+v", again.Shop.Shop, again)
			}
		}
		if f.state(settle.UUID).State != journal.Claimed {
			f.Error("the unknown one was not claimed")
		}
	}},
	// What ran last supersedes, whatever its age.
	{"LastRunSupersedes", func(f *fixture) {
		// An operator begins a run of the older operation after the newer one was in
		// doubt. It succeeds, so it supersedes the newer one.
		old := unknown(f, "s", "1")
		f.apply(journal.Transition{Ref: old.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		newer := unknown(f, "s", "2")
		f.apply(journal.Transition{Ref: newer.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		f.apply(journal.Transition{Ref: old.Ref, From: journal.Attention, To: journal.Done, NewRun: true, Supersede: "newer_code", Over: []string{"outcome_unknown"}})
		f.wantState(newer.UUID, journal.Superseded)
	}},
}
