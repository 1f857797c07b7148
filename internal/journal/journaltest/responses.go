package journaltest

import (
	"time"

	"invoicebox-worker/internal/journal"
)

var responses = []part{
	// A response in state sending leaves the claim with its worker.
	{"HeldWhileSending", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		r := f.receipt(o, id, "answer")
		s, mine, err := f.j.SaveResponse(f.ctx, r)
		if err != nil || s != journal.Received || !mine {
			f.Fatal(s, mine, err)
		}
		f.idle(journal.Activate, journal.Settle)
		d := f.state(o.UUID)
		if !d.Tries[0].HasReceipt || d.Tries[0].End == nil || d.Tries[0].End.Status != 200 || d.Tries[0].End.RequestID != "req-1" || !d.Tries[0].End.Answered {
			f.Fatalf("tries are %+v", d.Tries)
		}
		// A repeated call after an error changes nothing.
		if s, mine, err := f.j.SaveResponse(f.ctx, r); err != nil || s != journal.Received || !mine {
			f.Fatal(s, mine, err)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done})
	}},
	// The check begins with the response if the claim is the caller's and a permit is left.
	{"CheckBegins", func(f *fixture) {
		p := journal.Permit{RateLimit: "checks", Limit: 1, Window: 30 * time.Second, Slack: time.Minute}
		c := journal.Check{Account: account, SendBy: 5 * time.Second, Deadline: 10 * time.Second, Permits: []journal.Permit{p}}
		for _, x := range []struct {
			shop  string
			left  int
			mine  bool
			check bool
		}{{"stale", 1, false, false}, {"checked", 1, true, true}, {"unchecked", 0, true, false}} {
			o, id := f.sending(f.code(x.shop, "event of "+x.shop, "code of "+x.shop))
			r := f.receipt(o, id, "answer")
			if !x.mine {
				f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Unknown})
			}
			n, _, err := f.j.AvailablePermits(f.ctx, p)
			f.ok(err)
			if n != x.left {
				f.Fatalf("%s: %d permits are left, want %d", x.shop, n, x.left)
			}
			s, mine, check, err := f.j.SaveResponseAndBeginCheck(f.ctx, r, c)
			if err != nil || s != journal.Received || mine != x.mine || (check != 0) != x.check {
				f.Fatalf("%s: %v, mine %v, check %d, %v", x.shop, s, mine, check, err)
			}
			if d := f.state(o.UUID); len(d.Tries) != 1 || !d.Tries[0].HasReceipt {
				f.Fatalf("%s: tries are %+v", x.shop, d.Tries)
			}
			if !x.check {
				continue
			}
			// It ends with the operation's next step.
			f.free(p, 0, 100*time.Second)
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done, Attempt: check, End: &journal.AttemptEnd{Answered: true, At: f.clock.now()}})
			f.free(p, 0, 30*time.Second)
		}
	}},
	// The permit of its check counts after a crash, and once.
	{"CheckPermitAfterCrash", func(f *fixture) {
		p := journal.Permit{RateLimit: "checks", Limit: 1, Window: 30 * time.Second, Slack: time.Minute}
		c := journal.Check{Account: account, SendBy: 5 * time.Second, Deadline: 10 * time.Second, Permits: []journal.Permit{p}}
		o, id := f.sending(f.code("s", "e1", "1"))
		r := f.receipt(o, id, "answer")
		_, _, check, err := f.j.SaveResponseAndBeginCheck(f.ctx, r, c)
		f.ok(err)
		f.free(p, 0, 100*time.Second)
		if _, mine, again, err := f.j.SaveResponseAndBeginCheck(f.ctx, r, c); err != nil || !mine || check == 0 || again != 0 {
			f.Fatalf("check %d; the second call began %d, mine %v, %v", check, again, mine, err)
		}
		f.crash()
		f.free(p, 0, 100*time.Second)
		f.clock.advance(time.Second)
		f.ok(f.j.EndAttempt(f.ctx, check, *f.answered(200)))
		f.free(p, 0, 30*time.Second)
		f.clock.advance(time.Second)
		f.ok(f.j.EndAttempt(f.ctx, check, *f.answered(401))) // the first end holds
		f.free(p, 0, 29*time.Second)
		f.crash()
		f.free(p, 0, 29*time.Second)
		f.clock.advance(29 * time.Second)
		f.free(p, 1, 0)
		want(f.T, f.j.EndAttempt(f.ctx, check-100, *f.answered(200)), journal.ErrNotFound)
	}},
	// When the holder's lease has ended, another worker can claim the operation.
	{"HolderGone", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		r := f.receipt(o, id, "answer")
		_, _, err := f.j.SaveResponse(f.ctx, r)
		f.ok(err)
		f.clock.advance(2 * time.Minute)
		got := f.claimed(journal.Activate, journal.Settle)
		if got.State != journal.Received || got.Receipt == nil || got.Receipt.Attempt != id || string(got.Receipt.Sealed) != string(r.Sealed) || got.Doubt {
			f.Fatalf("claimed %+v", got)
		}
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done}), journal.ErrStale)
	}},
	// A response in state unknown makes the operation received.
	{"AfterUnknown", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.clock.advance(2 * time.Minute)
		_, _, err := f.j.ReleaseExpiredLeases(f.ctx)
		f.ok(err)
		settling := f.claimed(journal.Activate, journal.Settle)
		signalled(f.j.Changed())
		s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "late"))
		if err != nil || s != journal.Received || mine {
			f.Fatal(s, mine, err)
		}
		if !signalled(f.j.Changed()) {
			f.Error("no signal")
		}
		// The worker that was settling it as unknown is too late.
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: settling.Ref, From: journal.Unknown, To: journal.Attention}), journal.ErrStale)
		got := f.claimed(journal.Activate, journal.Settle)
		if got.State != journal.Received || got.Receipt == nil || !got.Doubt {
			f.Fatalf("claimed %+v", got)
		}
	}},
	// A response in attention without one makes the operation received.
	{"AfterAttentionWithoutResponse", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Attention, Reason: "outcome_unknown", Doubt: true})
		s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "late"))
		if err != nil || s != journal.Received || mine {
			f.Fatal(s, mine, err)
		}
		if st := stats(f); len(st.Attention) != 0 {
			f.Fatalf("attention is %+v", st.Attention)
		}
		got := f.claimed(journal.Activate, journal.Settle)
		if got.Receipt == nil || got.Reason != "" {
			f.Fatalf("claimed %+v", got)
		}
	}},
	// A response in attention with one is stored as late; the state stays.
	{"AfterAttentionWithResponse", func(f *fixture) {
		first, firstID := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: first.Ref, From: journal.Sending, To: journal.Planned, Doubt: true})
		o := f.claimed(journal.Activate, journal.Call)
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, f.send(o), "broken"))
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Attention, Reason: "answer_unreadable"})
		s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(first, firstID, "late"))
		if err != nil || s != journal.Attention || mine {
			f.Fatal(s, mine, err)
		}
		f.wantState(o.UUID, journal.Attention)
		if got := f.claimed(journal.Activate, journal.Settle); got.State != journal.Attention || len(got.Late) != 1 || got.Late[0].Attempt != firstID || len(got.Known) != 1 {
			f.Fatalf("claimed %+v", got)
		}
	}},
	// A response to an earlier attempt makes the operation received; no further request is
	// sent.
	{"BeforeResponse", testReceiptBeforeAnAnswer},
	// The operation holds the lane until no other request of it can arrive.
	{"HoldsLane", testReceiptBesideARequest},
	// A response after the operation's end is compared.
	{"AfterEnd", testReceiptAfterTheEnd},
	// A second response is compared at the operation's end.
	{"BesideResponse", func(f *fixture) {
		o := unknown(f, "s", "1")
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Planned})
		probe := f.claimed(journal.Activate, journal.Call)
		probeID := f.send(probe)
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(probe, probeID, "probe"))
		f.ok(err)
		// The first one's response, which arrives late.
		s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, probeID-1, "first"))
		if err != nil || s != journal.Received || mine {
			f.Fatal(s, mine, err)
		}
		f.apply(journal.Transition{Ref: probe.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(probe, 1, "m-1")})
		stored := f.claimed(journal.Activate, journal.Settle)
		if stored.State != journal.Stored || stored.Receipt == nil || stored.Receipt.Attempt != probeID {
			f.Fatalf("claimed %+v", stored)
		}
		f.apply(journal.Transition{Ref: stored.Ref, From: journal.Stored, To: journal.Done, Active: &journal.ActiveUpdate{At: f.clock.now()}, Reason: "activated"})
		done := f.claimed(journal.Activate, journal.Settle)
		if done.State != journal.Done || len(done.Late) != 1 || done.Late[0].Attempt != probeID-1 || len(done.Known) != 2 || done.Known[0].Attempt != probeID {
			f.Fatalf("claimed %+v", done)
		}
		f.apply(journal.Transition{Ref: done.Ref, From: journal.Done, To: journal.Done, Reason: "activated", Compared: true})
		f.idle(journal.Activate, journal.Settle)
	}},
	// A response is erased some time after its credentials were verified.
	{"ErasedAfterVerification", testEraseReceipts},
	// A response survives a crash before it is parsed.
	{"Crash", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		r := f.receipt(o, id, "answer")
		_, _, err := f.j.SaveResponse(f.ctx, r)
		f.ok(err)
		f.crash()
		got := f.claimed(journal.Activate, journal.Settle)
		if got.State != journal.Received || got.Receipt == nil || string(got.Receipt.Sealed) != string(r.Sealed) || !got.Receipt.At.Equal(f.clock.now()) {
			f.Fatalf("claimed %+v", got)
		}
		// A repeated save of a response of an earlier process has no effect.
		if s, mine, err := f.j.SaveResponse(f.ctx, r); err != nil || s != journal.Received || mine {
			f.Fatal(s, mine, err)
		}
	}},
	// A response for an unknown attempt, or one that is not sealed, is refused.
	{"InvalidResponse", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		bad := f.receipt(o, id, "answer")
		bad.Sealed = []byte("in the open")
		if _, _, err := f.j.SaveResponse(f.ctx, bad); err == nil {
			f.Fatal("an open receipt was taken")
		}
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id+100, "answer"))
		want(f.T, err, journal.ErrNotFound)
		check, err := f.j.BeginCheck(f.ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: time.Second})
		f.ok(err)
		_, _, err = f.j.SaveResponse(f.ctx, f.receipt(o, check, "answer"))
		want(f.T, err, journal.ErrNotFound)
		lost := f.receipt(o, id, "answer")
		lost.Ref.Operation = 999
		_, _, err = f.j.SaveResponse(f.ctx, lost)
		want(f.T, err, journal.ErrNotFound)
		if d := f.state(o.UUID); d.State != journal.Sending || d.Tries[0].End != nil || d.Tries[0].HasReceipt {
			f.Fatalf("a refused receipt left %+v", d)
		}
		if _, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer")); err != nil || !mine {
			f.Fatal(mine, err)
		}
	}},
}

func testReceiptBeforeAnAnswer(f *fixture) {
	late := func(o journal.ClaimedOperation, id journal.AttemptID) {
		f.Helper()
		r := f.receipt(o, id, "late")
		for range 2 { // also after a second try it is not whose claim this was
			if s, mine, err := f.j.SaveResponse(f.ctx, r); err != nil || s != journal.Received || mine {
				f.Fatal(s, mine, err)
			}
		}
		got := f.claimed(journal.Activate, journal.Settle)
		if got.UUID != o.UUID || got.State != journal.Received || got.Receipt == nil || got.Receipt.Attempt != id || got.Receipt.Operation != o.UUID {
			f.Fatalf("claimed %+v", got)
		}
		f.idle(journal.Activate, journal.Call)
		f.apply(journal.Transition{Ref: got.Ref, From: journal.Received, To: journal.Done})
	}
	for _, to := range []journal.State{journal.Planned, journal.Waiting, journal.Unknown, journal.Attention} {
		o, id := f.sending(f.code(to.String(), to.String(), to.String()))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: to, Due: f.clock.now().Add(time.Hour), Doubt: true})
		late(o, id)
	}
	// Claimed again: the holder must not send any more.
	o, id := f.sending(f.code("claimed", "e1", "1"))
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Planned, Doubt: true})
	again := f.claimed(journal.Activate, journal.Call)
	late(o, id)
	_, err := f.j.BeginAttempt(f.ctx, sendOf(again, wide()))
	want(f.T, err, journal.ErrStale)
	// Sending again, by another claim: the result of that is compared.
	o, id = f.sending(f.code("sending", "e2", "2"))
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Planned, Doubt: true})
	again = f.claimed(journal.Activate, journal.Call)
	probe := f.send(again)
	if s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "late")); err != nil || s != journal.Received || mine {
		f.Fatal(s, mine, err)
	}
	f.ok(f.j.EndAttempt(f.ctx, probe, *f.answered(422)))
	late(o, id)
	want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: again.Ref, From: journal.Sending, To: journal.Attention, Reason: "outcome_lost"}), journal.ErrStale)
	if s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(again, probe, "probe")); err != nil || s != journal.Done || mine {
		f.Fatal(s, mine, err)
	}
	if done := f.claimed(journal.Activate, journal.Settle); len(done.Late) != 1 || done.Late[0].Attempt != probe {
		f.Fatalf("claimed %+v", done)
	}
	// Behind a newer code.
	o = unknown(f, "behind", "3")
	id = probe + 1
	f.ingest(f.code("behind", "e4", "4"))
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Planned})
	step := f.claimed(journal.Activate, journal.Call)
	f.apply(journal.Transition{Ref: step.Ref, From: journal.Claimed, To: journal.Planned, Behind: true})
	newer := f.claimed(journal.Activate, journal.Call)
	late(o, id)
	f.finish(newer)
}

func testReceiptAfterTheEnd(f *fixture) {
	current := activate(f, "s", "0", "m-1")
	for i, to := range []journal.State{journal.Done, journal.Superseded} {
		code := string(rune('1' + i))
		o, id := f.sending(f.code("s", "event-"+code, code))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: to, Reason: "why", Doubt: true})
		f.idle(journal.Activate, journal.Settle)
		signalled(f.j.Changed())
		r := f.receipt(o, id, "late")
		for range 2 { // a second try after an error changes nothing
			if s, mine, err := f.j.SaveResponse(f.ctx, r); err != nil || s != to || mine {
				f.Fatal(s, mine, err)
			}
		}
		if !signalled(f.j.Changed()) {
			f.Error("no signal")
		}
		f.crash()
		first := f.claimed(journal.Activate, journal.Settle)
		f.crash() // in the middle of comparing
		got := f.claimed(journal.Activate, journal.Settle)
		if got.State != to || got.Reason != "why" || got.Receipt != nil || len(got.Late) != 1 || string(got.Late[0].Sealed) != string(r.Sealed) {
			f.Fatalf("claimed %+v", got)
		}
		if len(got.Known) != 1 || got.Known[0].Operation != current.UUID {
			f.Fatalf("known are %+v", got.Known)
		}
		if len(got.Stored) != 1 || got.Stored[0].Version != 1 || got.Stored[0].MerchantID != "m-1" || len(got.Stored[0].Sealed) == 0 {
			f.Fatalf("stored are %+v", got.Stored)
		}
		compared := journal.Transition{Ref: first.Ref, From: to, To: to, Reason: "why", Compared: true}
		want(f.T, f.j.Apply(f.ctx, compared), journal.ErrStale)
		compared.Ref = got.Ref
		f.apply(compared)
		f.idle(journal.Activate, journal.Settle)
		if d := f.state(o.UUID); d.State != to || d.Reason != "why" || !d.Tries[0].HasReceipt {
			f.Fatalf("the journal says %+v", d)
		}
	}
	// In attention because of a response. An operator's action meanwhile does not lose the
	// response.
	o, id := f.sending(f.code("s", "e5", "5"))
	_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "broken"))
	f.ok(err)
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Planned, Doubt: true})
	again := f.claimed(journal.Activate, journal.Call)
	second := f.send(again)
	f.apply(journal.Transition{Ref: again.Ref, From: journal.Sending, To: journal.Attention, Reason: "answer_unreadable"})
	if s, _, err := f.j.SaveResponse(f.ctx, f.receipt(again, second, "late")); err != nil || s != journal.Attention {
		f.Fatal(s, err)
	}
	got := f.claimed(journal.Activate, journal.Settle)
	f.apply(journal.Transition{Ref: got.Ref, From: journal.Attention, To: journal.Done, Reason: "closed"})
	got = f.claimed(journal.Activate, journal.Settle)
	if got.State != journal.Done || len(got.Late) != 1 || got.Late[0].Attempt != second {
		f.Fatalf("claimed %+v", got)
	}
	f.apply(journal.Transition{Ref: got.Ref, From: journal.Done, To: journal.Attention, Reason: "second_token", Compared: true})
	f.idle(journal.Activate, journal.Settle)
}

func testEraseReceipts(f *fixture) {
	verified := func(shop string) journal.ClaimedOperation {
		o, id := f.sending(f.code(shop, shop, shop))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		return o
	}
	done := func(o journal.ClaimedOperation, works bool) {
		f.apply(journal.Transition{
			Ref: o.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(o, 1, "m-"+o.Shop.Shop), Verified: works,
			Active: &journal.ActiveUpdate{At: f.clock.now()},
		})
	}
	var os []journal.ClaimedOperation
	for _, shop := range []string{"a", "b", "c", "d"} {
		o := verified(shop)
		os = append(os, o)
		switch shop {
		case "c":
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Attention, Reason: "answer_unreadable"})
		default:
			done(o, shop != "d") // d's was published as pending
		}
	}
	f.clock.advance(time.Hour)
	young := verified("young")
	done(young, true)
	if n := f.pruneAll(journal.PruneResponses, 2*time.Hour, 1); n != 0 {
		f.Fatalf("%d erased too early", n)
	}
	if n := f.pruneAll(journal.PruneResponses, time.Minute, 1); n != 2 {
		f.Fatalf("%d erased, want 2", n)
	}
	for i, kept := range []bool{false, false, true, true} {
		if d := f.state(os[i].UUID); d.Tries[0].HasReceipt != kept {
			f.Errorf("%s: kept %v", d.Shop.Shop, !kept)
		}
	}
	f.clock.advance(time.Hour)
	f.crash()
	if n := f.pruneAll(journal.PruneResponses, time.Minute, 100); n != 1 || f.state(young.UUID).Tries[0].HasReceipt {
		f.Fatalf("%d erased", n)
	}
}
