package journaltest

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var plans = []part{
	// Each exit is remembered.
	{"Exits", func(f *fixture) {
		id := uuid.NewSHA1(uuid.Nil, []byte("answer"))
		step := 0
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			step++
			switch step {
			case 1:
				return Plain(e, v) // new
			case 2:
				return journal.Plan{Join: v.Same.ID}
			case 3:
				return journal.Plan{Publish: []journal.Draft{MakeDraft(id, schemas.TypeInvited, e.Shop)}}
			case 4:
				return journal.Plan{Republish: id}
			}
			return journal.Plan{}
		}
		for i := range 5 {
			f.ingest(f.address("s", fmt.Sprint("e", i), "a@x.test"))
		}
		f.plan = nil
		f.finish(f.claimed(journal.Invite, journal.Call))
		f.ingest(f.address("s", "e5", "a@x.test"))
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		var exits []string
		for _, e := range h.Events {
			exits = append(exits, e.Exit)
		}
		diff(f.T, []string{"planned", "joined", "answered", "answered", "kept", "rerun"}, exits)
		if len(h.Operations) != 1 || h.Operations[0].Run != 2 || h.Operations[0].Event != "e5" || len(h.Operations[0].Events) != 3 {
			f.Fatalf("operations are %+v", h.Operations)
		}
		if e := h.Events[0]; e.Operation != h.Operations[0].UUID || e.ID != "e0" || e.Source != "/platform" || e.Topic != topic || e.Type != schemas.TypeProviderSelected {
			f.Fatalf("the first event is %+v", e)
		}
	}},
	// The planner sees the shop.
	{"ShopView", testPlannerSees},
	// A code is found whichever shop has it.
	{"CodeOfAnyShop", func(f *fixture) {
		f.ingest(f.code("s1", "e1", "123"))
		var seen *journal.OperationView
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			seen = v.Same
			return journal.Plan{
				New:     &journal.NewOperation{UUID: uuid.NewSHA1(uuid.Nil, []byte("attention")), Attention: "code_of_other_shop"},
				Publish: []journal.Draft{MakeDraft(uuid.NewSHA1(uuid.Nil, []byte("failed")), schemas.TypeActivationFailed, e.Shop)},
			}
		}
		f.ingest(f.code("s2", "e2", "123"))
		if seen == nil || seen.Changed.IsZero() || seen.Shop != shopKey("s1") || !seen.SameSubject || seen.State != journal.Planned {
			f.Fatalf("the planner saw %+v", seen)
		}
		// An operation in attention neither runs nor owns the code.
		if got := f.claim(journal.Activate, journal.Call, 10); len(got) != 1 || got[0].Shop != shopKey("s1") {
			f.Fatalf("claimed %+v", got)
		}
		f.plan = func(_ journal.Event, v journal.ShopView) journal.Plan {
			seen = v.Same
			return journal.Plan{}
		}
		f.ingest(f.code("s3", "e3", "123"))
		if seen == nil || seen.Shop != shopKey("s1") {
			f.Fatalf("the code's owner is %+v", seen)
		}
		if s := stats(f); s.Attention["code_of_other_shop"] != 1 || s.Outbox != 1 {
			f.Fatalf("stats are %+v", s)
		}
	}},
	// An operation does not end for its own sake.
	{"OwnOperationStays", func(f *fixture) {
		f.ingest(f.code("s", "e1", "123"))
		o := f.claimed(journal.Activate, journal.Call)
		for _, from := range []journal.State{journal.Claimed, journal.Attention} {
			f.apply(journal.Transition{
				Ref: o.Ref, From: from, To: journal.Attention, Reason: "code_of_other_shop", Supersede: "newer_code", Unsent: []string{"code_of_other_shop"},
			})
			f.wantState(o.UUID, journal.Attention)
		}
	}},
	// What nothing was sent for ends with a code of the shop's own.
	{"OwnCodeEndsUnsent", func(f *fixture) {
		waiting := func(shop string) uuid.UUID { return uuid.NewSHA1(uuid.Nil, []byte("attention of "+shop)) }
		f.plan = func(e journal.Event, _ journal.ShopView) journal.Plan {
			return journal.Plan{New: &journal.NewOperation{UUID: waiting(e.Shop.Shop), Attention: "code_of_other_shop"}}
		}
		f.ingest(f.code("s2", "e1", "123"))
		f.ingest(f.code("s3", "e2", "123"))
		f.plan = nil
		own, id := f.sending(f.code("s2", "e3", "456"))
		f.apply(journal.Transition{
			Ref: own.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200), Reason: "activated",
			Supersede: "newer_code", Unsent: []string{"code_of_other_shop"},
		})
		f.wantState(waiting("s2"), journal.Superseded)
		f.wantState(waiting("s3"), journal.Attention)
		f.crash()
		if s := stats(f); s.Attention["code_of_other_shop"] != 1 {
			f.Fatalf("stats are %+v", s)
		}
		f.idle(journal.Activate, journal.Call)
	}},
	// The newest generation owns an address.
	{"NewestGeneration", func(f *fixture) {
		generation := 0
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			if v.Same != nil && v.Same.Generation != generation-1 {
				f.Errorf("saw generation %d, want %d", v.Same.Generation, generation-1)
			}
			return journal.Plan{New: &journal.NewOperation{UUID: operationID(e, generation), Generation: generation}}
		}
		for i := range 3 {
			generation = i
			f.ingest(f.address("s", fmt.Sprint("e", i), "a@x.test"))
			f.finish(f.claimed(journal.Invite, journal.Call))
		}
	}},
	// A cancelled head lets the next run.
	{"CancelledHead", func(f *fixture) {
		f.ingest(f.address("s", "e1", "1@x.test"), f.code("s", "c1", "111"))
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			if len(v.Open) != 2 || v.Open[0].Kind != journal.Invite {
				f.Errorf("open are %+v", v.Open)
			}
			return journal.Plan{Cancel: []int64{v.Open[0].ID}, CancelReason: "newer_address", New: &journal.NewOperation{UUID: operationID(e, 0)}}
		}
		f.ingest(f.address("s", "e2", "2@x.test"))
		o := f.claimed(journal.Activate, journal.Call)
		f.idle(journal.Invite, journal.Call)
		f.finish(o)
		if o := f.claimed(journal.Invite, journal.Call); o.EventID != "e2" {
			f.Fatalf("claimed %q", o.EventID)
		}
		os, err := f.j.Operations(f.ctx, journal.OperationFilter{State: journal.Superseded, Limit: 10})
		f.ok(err)
		if len(os) != 1 || os[0].Reason != "newer_address" {
			f.Fatalf("superseded are %+v", os)
		}
	}},
	// Who steps behind an operation that does not run gets the lane back.
	{"LaneReturns", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			return journal.Plan{Behind: v.Open[0].ID, New: &journal.NewOperation{UUID: operationID(e, 0), Attention: "code_of_other_shop"}}
		}
		f.ingest(f.code("s", "e2", "123"))
		f.idle(journal.Activate, journal.Call)
		if o := f.claimed(journal.Invite, journal.Call); o.EventID != "e1" {
			f.Fatalf("claimed %+v", o)
		}
	}},
	// A plan that does not fit fails its batch alone.
	{"InvalidPlanFailsAlone", testBadPlans},
	// A preview is what the planner sees.
	{"Preview", func(f *fixture) {
		var seen journal.ShopView
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			if seen = v; e.Shop.Shop == "t" {
				return journal.Plan{} // the code is another shop's
			}
			return Plain(e, v)
		}
		take := func(e journal.Event) {
			f.Helper()
			before, err := f.j.Preview(f.ctx, e)
			f.ok(err)
			f.ingest(e)
			diff(f.T, journal.Preview{View: seen}, before)
			after, err := f.j.Preview(f.ctx, e)
			f.ok(err)
			diff(f.T, journal.Preview{Known: true}, after)
		}
		first := f.address("s", "e1", "a@x.test")
		take(first)
		take(f.address("s", "e2", "b@x.test"))
		take(f.address("s", "e3", "a@x.test"))
		take(f.code("s", "c1", "111"))
		take(f.code("t", "c2", "111"))
		o := f.claimed(journal.Invite, journal.Call)
		f.apply(journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Done, Reason: "sent", Attempt: f.send(o), End: f.answered(200),
			Invited: &journal.InvitedUpdate{At: f.clock.now(), InvitationID: "inv"},
		})
		take(f.address("s", "e4", "a@x.test"))
		reviewed(f, "u", 0, true)
		take(f.address("u", "e5", "u@x.test"))
		other := f.address("s", "e1", "c@x.test")
		p, err := f.j.Preview(f.ctx, other)
		f.ok(err)
		diff(f.T, journal.Preview{Reused: true}, p)
	}},
	// A repeated run keeps what it must.
	{"RepeatedRun", func(f *fixture) {
		e := f.code("s", "e1", "123")
		o, id := f.sending(e)
		r := f.receipt(o, id, "answer")
		_, _, err := f.j.SaveResponse(f.ctx, r)
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done, Reason: "code_rejected", Doubt: true})
		f.clock.advance(time.Hour)
		f.ingest(f.code("s", "e2", "123"))
		again := f.claimed(journal.Activate, journal.Call)
		if again.UUID != o.UUID || again.Run != 2 || again.Attempts != 1 || again.Waits != 0 || !again.Doubt || again.EventID != "e2" || again.Reason != "" ||
			!again.Planned.Equal(f.clock.now()) || again.Ref.Claim == o.Ref.Claim {
			f.Fatalf("the new run is %+v", again)
		}
		// The receipt of the earlier run does not count any more.
		f.send(again)
		f.clock.advance(time.Hour)
		_, _, err = f.j.ReleaseExpiredLeases(f.ctx)
		f.ok(err)
		if u := f.claimed(journal.Activate, journal.Settle); u.Receipt != nil || u.State != journal.Unknown {
			f.Fatalf("settling %+v", u)
		}
	}},
}

func testPlannerSees(f *fixture) {
	invited := f.address("s", "e1", "a@x.test")
	invited.Time = f.clock.now().Add(-time.Hour)
	o, id := f.sending(invited)
	f.apply(journal.Transition{
		Ref: o.Ref, From: journal.Sending, To: journal.Done, Reason: "invited", Attempt: id, End: f.answered(200),
		Invited: &journal.InvitedUpdate{At: f.clock.now(), InvitationID: "inv-1"},
	})
	a, id := f.sending(f.code("s", "e2", "123"))
	_, _, err := f.j.SaveResponse(f.ctx, f.receipt(a, id, "answer"))
	f.ok(err)
	event := schemas.EventID(a.UUID, 1, schemas.TypeActivated)
	f.apply(journal.Transition{Ref: a.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(a, 1, "m-1"), Due: f.clock.now().Add(time.Hour)})
	f.apply(journal.Transition{Ref: a.Ref, From: journal.Stored, To: journal.Done, Active: &journal.ActiveUpdate{At: f.clock.now(), Event: event}})
	f.ingest(f.address("s", "e3", "b@x.test"), f.code("s", "e4", "124"))
	var seen journal.ShopView
	f.plan = func(_ journal.Event, v journal.ShopView) journal.Plan {
		seen = v
		return journal.Plan{}
	}
	f.ingest(f.address("s", "e5", "a@x.test"))
	if len(seen.Open) != 2 || seen.Open[0].State != journal.Planned || seen.Open[0].SameSubject || seen.Open[1].State != journal.Queued || seen.Open[1].Kind != journal.Activate {
		f.Fatalf("open are %+v", seen.Open)
	}
	seen.Open = nil
	diff(f.T, journal.ShopView{
		Invited: &journal.InvitedView{At: f.clock.now(), EventTime: invited.Time, SameAddress: true, InvitationID: "inv-1"},
		Active:  &journal.ActiveView{At: f.clock.now(), MerchantID: "m-1", Version: 1, Operation: a.UUID, Event: event},
		Same: &journal.OperationView{
			ID: o.Ref.Operation, UUID: o.UUID, Kind: journal.Invite, Shop: o.Shop, State: journal.Done, Reason: "invited", Run: 1, Attempts: 1, SameSubject: true, Changed: f.clock.now(), EventTime: invited.Time,
		},
	}, seen)
	// Another address is another key.
	f.ingest(f.address("s", "e6", "c@x.test"))
	if seen.Same != nil || seen.Invited.SameAddress {
		f.Fatalf("the planner saw %+v", seen)
	}
}

func testBadPlans(f *fixture) {
	o, _ := f.sending(f.address("s", "e1", "a@x.test"))
	f.ingest(f.address("other", "e2", "b@x.test"))
	other := f.claimed(journal.Invite, journal.Call)
	f.apply(journal.Transition{Ref: other.Ref, From: journal.Claimed, To: journal.Waiting, Due: f.clock.now().Add(time.Hour)})
	before := stats(f)
	for name, bad := range map[string]journal.Plan{
		"cancels what is sending":      {Cancel: []int64{o.Ref.Operation}},
		"cancels another shop's":       {Cancel: []int64{other.Ref.Operation}},
		"cancels nothing":              {Cancel: []int64{999}},
		"runs again what is open":      {Rerun: o.Ref.Operation},
		"runs again what is not there": {Rerun: 999},
		"joins another shop's":         {Join: other.Ref.Operation},
		"takes a uuid that exists":     {New: &journal.NewOperation{UUID: o.UUID}},
		"republishes what is unknown":  {Republish: o.UUID},
		"publishes what cannot be frozen": {Publish: []journal.Draft{{
			ID: o.UUID, Type: schemas.TypeInvited,
			Freeze: func(int64) (schemas.Message, error) { return schemas.Message{}, fmt.Errorf("too large") },
		}}},
	} {
		f.plan = func(journal.Event, journal.ShopView) journal.Plan { return bad }
		e := f.address("s", "bad", "c@x.test")
		if _, err := f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: f.next, Next: f.next + 2, Events: []journal.Event{f.address("s", "bad0", "d@x.test"), e}}); err == nil {
			f.Errorf("a plan that %s was carried out", name)
		}
	}
	f.plan = nil
	diff(f.T, before, stats(f))
	f.ingest(f.address("s", "bad", "c@x.test"))
}
