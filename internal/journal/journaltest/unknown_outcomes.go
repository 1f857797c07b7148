package journaltest

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// unknownOutcomes tests operations whose outcome is unknown.
var unknownOutcomes = []part{
	// Unknown outcomes are counted, over runs, leases and crashes.
	{"CountedOutcomes", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		if o.Unknowns != 0 || o.Newer {
			f.Fatalf("claimed %+v", o)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Unknown, Doubt: true, Attempt: id, End: f.answered(500)})
		for i, end := range []func(){f.crash, func() {
			f.clock.advance(2 * time.Minute)
			if _, u, err := f.j.ReleaseExpiredLeases(f.ctx); err != nil || u != 1 {
				f.Fatal(u, err)
			}
		}} {
			u := f.claimed(journal.Activate, journal.Settle)
			if u.Unknowns != i+1 || !u.Doubt {
				f.Fatalf("after %d: %+v", i+1, u)
			}
			// A wait is no new outcome.
			f.apply(journal.Transition{Ref: u.Ref, From: journal.Unknown, To: journal.Unknown})
			u = f.claimed(journal.Activate, journal.Settle)
			f.apply(journal.Transition{Ref: u.Ref, From: journal.Unknown, To: journal.Planned, Reason: "probe"})
			p := f.claimed(journal.Activate, journal.Call)
			if p.Unknowns != i+1 {
				f.Fatalf("after %d: %+v", i+1, p)
			}
			s := sendOf(p, wide())
			s.Flagged, s.Probe = true, true
			_, err := f.j.BeginAttempt(f.ctx, s)
			f.ok(err)
			end()
		}
		u := f.claimed(journal.Activate, journal.Settle)
		if u.Unknowns != 3 || u.Attempts != 3 {
			f.Fatalf("claimed %+v", u)
		}
		f.apply(journal.Transition{Ref: u.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		f.ingest(f.code("s", "e2", "1"))
		if again := f.claimed(journal.Activate, journal.Call); again.Run != 2 || again.Unknowns != 3 {
			f.Fatalf("claimed %+v", again)
		}
		d := f.state(o.UUID)
		if d.Tries[0].Probe || !d.Tries[1].Probe || !d.Tries[2].Probe || !d.Tries[1].Flagged {
			f.Fatalf("tries are %+v", d.Tries)
		}
	}},
	// ConnectionClosed is when nothing of the last attempt can leave any more.
	{"QuietSince", testClosed},
	// One that steps behind comes after all that is queued.
	{"BehindQueued", func(f *fixture) {
		o := unknown(f, "s", "1")
		f.ingest(f.address("s", "e2", "a@x.test"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Planned, Reason: "probe"})
		if o = f.claimed(journal.Activate, journal.Call); o.Newer {
			f.Fatal("an address is no newer code")
		}
		f.ingest(f.code("s", "e3", "3"), f.code("s", "e4", "4"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned})
		if o = f.claimed(journal.Activate, journal.Call); !o.Newer {
			f.Fatal("a newer code is queued")
		}
		signalled(f.j.Changed())
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned, Behind: true, Reason: "newer_first"})
		if !signalled(f.j.Changed()) {
			f.Error("no signal")
		}
		f.wantState(o.UUID, journal.Queued)
		f.crash()
		for i, kind := range []journal.Kind{journal.Invite, journal.Activate, journal.Activate} {
			next := f.claimed(kind, journal.Call)
			if next.UUID == o.UUID || next.Unknowns != 0 {
				f.Fatalf("the %d. is %+v", i, next)
			}
			if i == 1 {
				f.ingest(f.code("s", "e5", "1")) // joins
			}
			f.finish(next)
		}
		last := f.claimed(journal.Activate, journal.Call)
		if last.UUID != o.UUID || last.Newer || last.Run != 1 || last.Unknowns != 1 {
			f.Fatalf("claimed %+v", last)
		}
		// If none is queued, it continues at once.
		f.apply(journal.Transition{Ref: last.Ref, From: journal.Claimed, To: journal.Planned, Behind: true})
		f.finish(f.claimed(journal.Activate, journal.Call))
	}},
	// One that succeeds supersedes the older ones in doubt.
	{"SuccessSupersedes", func(f *fixture) {
		aside, attention, other := unknown(f, "s", "1"), unknown(f, "t", "2"), unknown(f, "u", "3")
		f.apply(journal.Transition{Ref: attention.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		f.apply(journal.Transition{Ref: other.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		f.ingest(f.code("s", "e4", "4"))
		f.apply(journal.Transition{Ref: aside.Ref, From: journal.Unknown, To: journal.Planned})
		aside = f.claimed(journal.Activate, journal.Call)
		f.apply(journal.Transition{Ref: aside.Ref, From: journal.Claimed, To: journal.Planned, Behind: true})
		f.ingest(f.code("t", "e5", "5"))
		for _, o := range f.claim(journal.Activate, journal.Call, 10) {
			// Another shop's, a refused one and an earlier one: none of them is ended.
			younger := unknown(f, o.Shop.Shop+"x", "y"+o.Shop.Shop)
			f.apply(journal.Transition{Ref: younger.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
			_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, f.send(o), "answer"))
			f.ok(err)
			f.apply(journal.Transition{
				Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 1, "m-"+o.Shop.Shop),
				Supersede: "newer_code", Over: []string{"outcome_unknown"},
				Due: f.clock.now().Add(time.Hour),
			})
			f.wantState(younger.UUID, journal.Attention)
		}
		for _, o := range []journal.ClaimedOperation{aside, attention} {
			if d := f.state(o.UUID); d.State != journal.Superseded || d.Reason != "newer_code" {
				f.Fatalf("the older one is %v (%s)", d.State, d.Reason)
			}
		}
		f.wantState(other.UUID, journal.Attention)
		f.idle(journal.Activate, journal.Call)
		// The success of the earlier one does not end later ones.
		o := unknown(f, "z", "8")
		f.ingest(f.code("z", "e9", "9"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Planned})
		o = f.claimed(journal.Activate, journal.Call)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned, Behind: true})
		newer := f.claimed(journal.Activate, journal.Call)
		f.apply(journal.Transition{Ref: newer.Ref, From: journal.Sending, To: journal.Unknown, Attempt: f.send(newer), End: f.answered(500)})
		newer = f.claimed(journal.Activate, journal.Settle)
		f.apply(journal.Transition{Ref: newer.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		o = f.claimed(journal.Activate, journal.Call)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done, Supersede: "newer_code", Over: []string{"outcome_unknown"}})
		f.wantState(newer.UUID, journal.Attention)
	}},
	// One in doubt is superseded out of attention for some reasons, and never with an answer.
	{"SupersededInAttention", func(f *fixture) {
		lost := func(shop, code, reason string, doubt bool) journal.ClaimedOperation {
			f.ingest(f.code(shop, "e-"+shop+code, code))
			o := f.claimed(journal.Activate, journal.Call)
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Attention, Reason: reason, Doubt: doubt, Attempt: f.send(o), End: f.answered(422)})
			return o
		}
		over, kept, sure := lost("s", "1", "outcome_lost", true), lost("s", "2", "second_token", true), lost("s", "3", "outcome_lost", false)
		answered, id := f.sending(f.code("s", "e4", "4"))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(answered, id, "answer"))
		f.ok(err)
		f.apply(journal.Transition{Ref: answered.Ref, From: journal.Received, To: journal.Attention, Reason: "outcome_lost", Doubt: true})
		other := lost("t", "5", "outcome_lost", true)
		f.crash() // what is known of doubt outlives the process
		f.ingest(f.code("s", "e6", "6"))
		o := f.claimed(journal.Activate, journal.Call)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done, Supersede: "newer_code", Over: []string{"outcome_unknown", "outcome_lost"}})
		if d := f.state(over.UUID); d.State != journal.Superseded || d.Reason != "newer_code" {
			f.Fatalf("the older one is %v (%s)", d.State, d.Reason)
		}
		for _, o := range []journal.ClaimedOperation{kept, sure, answered, other} {
			f.wantState(o.UUID, journal.Attention)
		}
	}},
	// An address that steps behind still cannot be cancelled.
	{"UncancellableWhenBehind", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		o := f.claimed(journal.Invite, journal.Call)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Unknown, Doubt: true, Attempt: f.send(o), End: f.answered(500)})
		o = f.claimed(journal.Invite, journal.Settle)
		f.ingest(f.address("s", "e2", "b@x.test"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Planned})
		o = f.claimed(journal.Invite, journal.Call)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned, Behind: true})
		var seen []journal.OperationView
		f.plan = func(_ journal.Event, v journal.ShopView) journal.Plan {
			seen = v.Open
			return journal.Plan{}
		}
		f.ingest(f.address("s", "e3", "a@x.test"))
		if len(seen) != 2 || seen[0].UUID != o.UUID || seen[0].State != journal.Queued || !seen[0].Doubt || !seen[0].SameSubject {
			f.Fatalf("open are %+v", seen)
		}
		f.plan = nil
		_, err := f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: f.next, Next: f.next, Deselected: []journal.ShopKey{shopKey("s")}})
		f.ok(err)
		if last := f.claimed(journal.Invite, journal.Call); last.UUID != o.UUID {
			f.Fatalf("claimed %+v", last)
		}
	}},
}

// unknown moves a new activation of the shop to state unknown and claims it.
func unknown(f *fixture, shop, code string) journal.ClaimedOperation {
	f.Helper()
	o, id := f.sending(f.code(shop, "event-"+code, code))
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Unknown, Doubt: true, Attempt: id, End: f.answered(500)})
	return f.claimed(journal.Activate, journal.Settle)
}

func testClosed(f *fixture) {
	closed := func(want time.Time) journal.ClaimedOperation {
		f.Helper()
		o := f.claimed(journal.Activate, journal.Settle)
		if !o.ConnectionClosed.Equal(want) {
			f.Fatalf("closed at %v, want %v", o.ConnectionClosed, want)
		}
		return o
	}
	again := func(o journal.ClaimedOperation) {
		f.Helper()
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Unknown, Due: f.clock.now().Add(time.Minute)})
		f.clock.advance(time.Minute)
	}
	// Its worker has recorded the end.
	o, id := f.sending(f.code("s", "e1", "1"))
	end := f.answered(0)
	end.Answered, end.At = false, f.clock.now().Add(-time.Second)
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Unknown, Attempt: id, End: end})
	f.clock.advance(time.Minute)
	o = closed(end.At.Add(time.Second)) // not before the request began
	again(o)
	closed(end.At.Add(time.Second))
	// The process is another one: the attempt ended before the journal was opened.
	f.clock.advance(-time.Hour)
	f.crash()
	opened := f.clock.now()
	f.clock.advance(time.Minute)
	o = closed(opened)
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Attention})
	// The end was not recorded: its deadline has passed and its lease was ended.
	f.sending(f.code("t", "e2", "2"))
	f.clock.advance(10 * time.Minute)
	expired := f.clock.now()
	_, _, err := f.j.ReleaseExpiredLeases(f.ctx)
	f.ok(err)
	f.clock.advance(time.Minute)
	o = closed(expired)
	again(o)
	o = closed(expired)
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Attention})
	// Its process died during the request.
	f.sending(f.code("u", "e3", "3"))
	f.clock.advance(time.Second)
	f.crash()
	opened = f.clock.now()
	f.clock.advance(time.Second)
	// If it lost only the database, its worker may continue until the deadline.
	if o = f.claimed(journal.Activate, journal.Settle); o.OpenAttempt != 1 || o.ConnectionClosed.Before(opened) || o.ConnectionClosed.After(opened.Add(30*time.Second)) {
		f.Fatalf("opened at %v, claimed %+v", opened, o)
	}
}
