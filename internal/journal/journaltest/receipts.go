package journaltest

import (
	"time"

	"invoicebox-worker/internal/journal"
)

var receipts = []part{
	{"in sending it is the caller's", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		r := f.receipt(o, id, "answer")
		s, mine, err := f.j.Receive(f.ctx, r)
		if err != nil || s != journal.Received || !mine {
			f.Fatal(s, mine, err)
		}
		f.idle(journal.Activate, journal.Settle)
		d := f.state(o.UUID)
		if !d.Tries[0].HasReceipt || d.Tries[0].End == nil || d.Tries[0].End.Status != 200 || d.Tries[0].End.RequestID != "req-1" || !d.Tries[0].End.Answered {
			f.Fatalf("tries are %+v", d.Tries)
		}
		// A second try after an error changes nothing.
		if s, mine, err := f.j.Receive(f.ctx, r); err != nil || s != journal.Received || !mine {
			f.Fatal(s, mine, err)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done})
	}},
	{"when its holder is gone it is anybody's", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		r := f.receipt(o, id, "answer")
		_, _, err := f.j.Receive(f.ctx, r)
		f.ok(err)
		f.clock.advance(2 * time.Minute)
		got := f.claimed(journal.Activate, journal.Settle)
		if got.State != journal.Received || got.Receipt == nil || got.Receipt.Attempt != id || string(got.Receipt.Sealed) != string(r.Sealed) || got.Doubt {
			f.Fatalf("claimed %+v", got)
		}
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done}), journal.ErrStale)
	}},
	{"after unknown it goes on as received", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.clock.advance(2 * time.Minute)
		_, _, err := f.j.Expire(f.ctx)
		f.ok(err)
		settling := f.claimed(journal.Activate, journal.Settle)
		signalled(f.j.Changed())
		s, mine, err := f.j.Receive(f.ctx, f.receipt(o, id, "late"))
		if err != nil || s != journal.Received || mine {
			f.Fatal(s, mine, err)
		}
		if !signalled(f.j.Changed()) {
			f.Error("no signal")
		}
		// Whoever was settling it as unknown is too late.
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: settling.Ref, From: journal.Unknown, To: journal.Attention}), journal.ErrStale)
		got := f.claimed(journal.Activate, journal.Settle)
		if got.State != journal.Received || got.Receipt == nil || !got.Doubt {
			f.Fatalf("claimed %+v", got)
		}
	}},
	{"after attention for want of an answer it goes on as received", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Attention, Reason: "outcome_unknown", Doubt: true})
		s, mine, err := f.j.Receive(f.ctx, f.receipt(o, id, "late"))
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
	{"after attention over an answer it is kept beside", func(f *fixture) {
		first, firstID := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: first.Ref, From: journal.Sending, To: journal.Planned, Doubt: true})
		o := f.claimed(journal.Activate, journal.Call)
		_, _, err := f.j.Receive(f.ctx, f.receipt(o, f.send(o), "broken"))
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Attention, Reason: "answer_unreadable"})
		s, mine, err := f.j.Receive(f.ctx, f.receipt(first, firstID, "late"))
		if err != nil || s != journal.Attention || mine {
			f.Fatal(s, mine, err)
		}
		f.wantState(o.UUID, journal.Attention)
		f.idle(journal.Activate, journal.Settle)
	}},
	{"in any other state it is kept beside", func(f *fixture) {
		for i, to := range []journal.State{journal.Planned, journal.Waiting, journal.Stored, journal.Done, journal.Superseded} {
			shop := string(rune('a' + i))
			o, id := f.sending(f.code(shop, shop, shop))
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: to, Due: f.clock.now().Add(time.Hour)})
			s, mine, err := f.j.Receive(f.ctx, f.receipt(o, id, "late"))
			if err != nil || s != to || mine {
				f.Fatal(s, mine, err)
			}
			d := f.state(o.UUID)
			if d.State != to || !d.Tries[0].HasReceipt || d.Tries[0].End == nil {
				f.Fatalf("the journal says %+v", d)
			}
		}
		// Claimed again, and sending again by another claim.
		o, id := f.sending(f.code("x", "x", "x"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Planned, Doubt: true})
		again := f.claimed(journal.Activate, journal.Call)
		if s, mine, err := f.j.Receive(f.ctx, f.receipt(o, id, "late")); err != nil || s != journal.Claimed || mine {
			f.Fatal(s, mine, err)
		}
		f.send(again)
		f.clock.advance(2 * time.Minute)
		_, _, err := f.j.Expire(f.ctx)
		f.ok(err)
		// The next who settles it sees what was kept.
		if u := f.claimed(journal.Activate, journal.Settle); u.State != journal.Unknown || u.Receipt == nil || u.Receipt.Attempt != id {
			f.Fatalf("claimed %+v", u)
		}
	}},
	{"it survives a crash before anybody reads it", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		r := f.receipt(o, id, "answer")
		_, _, err := f.j.Receive(f.ctx, r)
		f.ok(err)
		f.crash()
		got := f.claimed(journal.Activate, journal.Settle)
		if got.State != journal.Received || got.Receipt == nil || string(got.Receipt.Sealed) != string(r.Sealed) || !got.Receipt.At.Equal(f.clock.now()) {
			f.Fatalf("claimed %+v", got)
		}
		// The answer of a process that is gone comes to nothing twice.
		if s, mine, err := f.j.Receive(f.ctx, r); err != nil || s != journal.Received || mine {
			f.Fatal(s, mine, err)
		}
	}},
	{"one that names nothing, or is not sealed, is refused", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		bad := f.receipt(o, id, "answer")
		bad.Sealed = []byte("in the open")
		if _, _, err := f.j.Receive(f.ctx, bad); err == nil {
			f.Fatal("an open receipt was taken")
		}
		_, _, err := f.j.Receive(f.ctx, f.receipt(o, id+100, "answer"))
		want(f.T, err, journal.ErrNotFound)
		check, err := f.j.StartCheck(f.ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: time.Second})
		f.ok(err)
		_, _, err = f.j.Receive(f.ctx, f.receipt(o, check, "answer"))
		want(f.T, err, journal.ErrNotFound)
		lost := f.receipt(o, id, "answer")
		lost.Ref.Operation = 999
		_, _, err = f.j.Receive(f.ctx, lost)
		want(f.T, err, journal.ErrNotFound)
		if d := f.state(o.UUID); d.State != journal.Sending || d.Tries[0].End != nil || d.Tries[0].HasReceipt {
			f.Fatalf("a refused receipt left %+v", d)
		}
		if _, mine, err := f.j.Receive(f.ctx, f.receipt(o, id, "answer")); err != nil || !mine {
			f.Fatal(mine, err)
		}
	}},
}
