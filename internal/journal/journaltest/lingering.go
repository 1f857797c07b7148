package journaltest

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// A request that began later is in flight when the response to the first one arrives: the
// shop's next request must not begin beside it.
func testReceiptBesideARequest(f *fixture) {
	slack := wide().Slack
	for name, c := range map[string]struct {
		end  func(o journal.ClaimedOperation, id journal.AttemptID)
		wait time.Duration // from its start
	}{
		"answered": {func(_ journal.ClaimedOperation, id journal.AttemptID) {
			f.clock.advance(time.Second)
			f.ok(f.j.EndAttempt(f.ctx, id, *f.answered(422)))
		}, time.Second},
		"with an answer of its own": {func(o journal.ClaimedOperation, id journal.AttemptID) {
			f.clock.advance(time.Second)
			if s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "second")); err != nil || s != journal.Received || mine {
				f.Fatal(s, mine, err)
			}
		}, time.Second},
		"cut": {func(_ journal.ClaimedOperation, id journal.AttemptID) {
			f.clock.advance(time.Second)
			f.ok(f.j.EndAttempt(f.ctx, id, journal.AttemptEnd{At: f.clock.now(), Outcome: "unknown"}))
		}, time.Second + slack},
		"not sent": {func(_ journal.ClaimedOperation, id journal.AttemptID) {
			f.ok(f.j.EndAttempt(f.ctx, id, journal.AttemptEnd{NotSent: true, At: f.clock.now()}))
		}, 0},
		"nobody knows": {func(journal.ClaimedOperation, journal.AttemptID) {}, 30*time.Second + slack},
		"its process died": {func(journal.ClaimedOperation, journal.AttemptID) {
			f.clock.advance(time.Second)
			f.crash()
		}, 30*time.Second + slack},
	} {
		o, id := f.sending(f.code(name, name, name))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Planned, Doubt: true})
		again := f.claimed(journal.Activate, journal.Call)
		f.ingest(f.code(name, name+"-next", name+"-next"))
		began, second := f.clock.now(), f.send(again)
		if s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "late")); err != nil || s != journal.Received || mine {
			f.Fatal(name, s, mine, err)
		}
		f.idle(journal.Activate, journal.Settle)
		f.idle(journal.Activate, journal.Call)
		signalled(f.j.Changed())
		c.end(again, second)
		if over := began.Add(c.wait).Sub(f.clock.now()); over > 0 {
			f.clock.advance(over - time.Millisecond)
			f.idle(journal.Activate, journal.Settle)
			f.idle(journal.Activate, journal.Call)
			f.clock.advance(time.Millisecond)
		} else if !signalled(f.j.Changed()) {
			f.Errorf("%s: no signal", name)
		}
		got := f.claimed(journal.Activate, journal.Settle)
		if got.UUID != o.UUID || got.State != journal.Received || got.Receipt == nil || got.Receipt.Attempt != id {
			f.Fatalf("%s: claimed %+v", name, got)
		}
		f.apply(journal.Transition{Ref: got.Ref, From: journal.Received, To: journal.Done, Compared: true})
		next := f.claimed(journal.Activate, journal.Call)
		if next.EventID != name+"-next" {
			f.Fatalf("%s: claimed %+v", name, next)
		}
		f.finish(next)
	}
}
