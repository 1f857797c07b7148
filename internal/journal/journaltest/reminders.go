package journaltest

import (
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// invited invites a shop that is to be reminded after a time, and returns the invitation.
func (f *fixture) invited(shop, id string, after time.Duration) journal.ClaimedOperation {
	f.Helper()
	o, attempt := f.sending(f.address(shop, id, id+"@x.test"))
	at := f.clock.now()
	f.apply(journal.Transition{
		Ref: o.Ref, From: journal.Sending, To: journal.Done, Reason: "sent", Attempt: attempt, End: f.answered(200),
		Invited: &journal.InvitedUpdate{At: at, InvitationID: "inv-" + id, Remind: at.Add(after)},
	})
	return o
}

// remind publishes the due reminders and makes the next one of each due after the given
// time, 0 for none. It returns the invitations that the planner saw, and the events.
func (f *fixture) remind(limit int, next time.Duration) (asked []journal.Invitation, queued []journal.Invitation) {
	f.Helper()
	n, queued, err := f.j.Remind(f.ctx, limit, 10*time.Hour, func(x journal.Invitation) journal.ReminderPlan {
		asked = append(asked, x)
		if x.Answered || x.Newer || x.Ahead {
			return journal.ReminderPlan{}
		}
		p := journal.ReminderPlan{Reminders: x.Reminders + 1, Publish: []journal.Draft{MakeDraft(schemas.EventID(x.Operation, x.Run, fmt.Sprint(x.Reminders)), schemas.TypeUnanswered, x.Shop)}}
		if next != 0 {
			p.Next = f.clock.now().Add(next)
		}
		return p
	})
	f.ok(err)
	if n != len(asked) {
		f.Fatalf("asked about %d shops, says %d", len(asked), n)
	}
	return asked, queued
}

// silent checks that no shop is to be reminded within the horizon.
func (f *fixture) silent() {
	f.Helper()
	f.clock.advance(9 * time.Hour)
	if asked, _ := f.remind(10, 0); len(asked) != 0 {
		f.Fatalf("asked about %+v", asked)
	}
}

var reminders = []part{
	// A shop is reminded when it is due, once for each time.
	{"RemindedOncePerStep", func(f *fixture) {
		o := f.invited("s", "e1", time.Hour)
		at := f.clock.now()
		if asked, _ := f.remind(10, 0); len(asked) != 0 {
			f.Fatalf("too early: %+v", asked)
		}
		f.clock.advance(time.Hour)
		f.crash()
		want := journal.Invitation{
			Shop: shopKey("s"), At: at, InvitationID: "inv-e1", Operation: o.UUID, Run: 1, EventID: "e1", TraceParent: "00-trace-e1", TraceState: "state",
		}
		_, queued := f.remind(10, time.Hour)
		diff(f.T, []journal.Invitation{want}, queued)
		if again, _ := f.remind(10, 0); len(again) != 0 {
			f.Fatalf("again: %+v", again)
		}
		f.crash()
		f.clock.advance(time.Hour)
		want.Reminders = 1
		_, queued = f.remind(10, 0)
		diff(f.T, []journal.Invitation{want}, queued)
		f.silent()
		out := f.state(o.UUID).Output
		if len(out) != 2 || out[0].Sequence != 1 || out[1].Sequence != 2 || out[0].Event == out[1].Event {
			f.Fatalf("output is %+v", out)
		}
	}},
	// The longest due goes first, and not more than asked for.
	{"LongestDueFirst", func(f *fixture) {
		for i := range 3 {
			f.invited(fmt.Sprint("s", i), fmt.Sprint("e", i), time.Duration(3-i)*time.Hour)
		}
		f.clock.advance(3 * time.Hour)
		for _, want := range [][]string{{"s2", "s1"}, {"s0"}, nil} {
			asked, _ := f.remind(2, 0)
			var got []string
			for _, x := range asked {
				got = append(got, x.Shop.Shop)
			}
			diff(f.T, want, got)
		}
	}},
	// A code answers an invitation, also a refused one, and one that came before does not.
	{"CodeAnswers", func(f *fixture) {
		f.ingest(f.code("a", "c1", "111"))
		o := f.claimed(journal.Activate, journal.Call)
		f.finish(o)
		for _, shop := range []string{"a", "b"} {
			f.invited(shop, "e-"+shop, time.Hour)
		}
		f.ingest(f.code("b", "c2", "222"))
		f.finish(f.claimed(journal.Activate, journal.Call))
		f.clock.advance(time.Hour)
		asked, _ := f.remind(10, 0)
		if len(asked) != 2 || asked[0].Answered || !asked[1].Answered {
			f.Fatalf("asked about %+v", asked)
		}
		f.silent()
	}},
	// A newer invitation takes the place of the reminders.
	{"NewerInvitation", func(f *fixture) {
		f.invited("s", "e1", time.Hour)
		f.clock.advance(time.Hour)
		f.ingest(f.address("s", "e2", "other@x.test"))
		if asked, queued := f.remind(10, 0); len(asked) != 1 || !asked[0].Newer || len(queued) != 0 {
			f.Fatalf("asked about %+v", asked)
		}
		o := f.claimed(journal.Invite, journal.Call)
		at := f.clock.now()
		f.apply(journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Done, Reason: "sent", Attempt: f.send(o), End: f.answered(200),
			Invited: &journal.InvitedUpdate{At: at, Remind: at.Add(time.Hour)},
		})
		f.clock.advance(time.Hour)
		if _, queued := f.remind(10, 0); len(queued) != 1 || queued[0].Operation != o.UUID || queued[0].Reminders != 0 {
			f.Fatalf("queued %+v", queued)
		}
	}},
	// An invitation without a time for it ends the reminders of the one before.
	{"InvitationWithoutReminder", func(f *fixture) {
		f.invited("s", "e1", time.Hour)
		o, id := f.sending(f.address("s", "e2", "other@x.test"))
		f.apply(journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Unknown, Reason: "no_proof", Attempt: id, End: &journal.AttemptEnd{At: f.clock.now()},
			Invited: &journal.InvitedUpdate{At: f.clock.now()},
		})
		f.silent()
	}},
	// A shop that chose another provider is not reminded, over a crash too.
	{"DeselectedShop", func(f *fixture) {
		f.invited("s", "e1", time.Hour)
		f.invited("t", "e2", time.Hour)
		for _, shop := range []string{"s", "t"} {
			b := f.batch()
			b.Next, b.Deselected = b.Next+1, []journal.ShopKey{shopKey(shop), shopKey("stranger")}
			f.next = b.Next
			_, err := f.j.Ingest(f.ctx, b)
			f.ok(err)
			f.crash()
		}
		f.silent()
	}},
	// An active shop is not reminded, nor is one that was disconnected.
	{"ActiveOrDisconnectedShop", func(f *fixture) {
		f.invited("s", "e1", time.Hour)
		reviewed(f, "s", 0, true)
		i := f.disconnecting()
		_, err := f.disconnect(i, &journal.Disconnect{At: f.clock.now(), Reason: "disconnected"})
		f.ok(err)
		f.silent()
	}},
	// A time beyond the horizon is told.
	{"BeyondHorizon", func(f *fixture) {
		f.invited("s", "e1", 1000*time.Hour)
		asked, queued := f.remind(10, 0)
		if len(asked) != 1 || !asked[0].Ahead || len(queued) != 0 {
			f.Fatalf("asked about %+v", asked)
		}
		if _, _, err := f.j.Remind(f.ctx, 1, 0, nil); err == nil {
			f.Fatal("no horizon is taken")
		}
	}},
}
