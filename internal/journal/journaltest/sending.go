package journaltest

import (
	"errors"
	"time"

	"invoicebox-worker/internal/journal"
)

var sending = []part{
	// An attempt is made once, in its turn.
	{"AttemptOnce", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		o := f.claimed(journal.Activate, journal.Call)
		for _, n := range []int{0, 2, 7} {
			s := sendOf(o, wide())
			s.Attempt = n
			_, err := f.j.BeginAttempt(f.ctx, s)
			want(f.T, err, journal.ErrStale)
		}
		id := f.send(o)
		_, err := f.j.BeginAttempt(f.ctx, sendOf(o, wide()))
		want(f.T, err, journal.ErrStale)
		f.crashless(o, id)
	}},
	// Attempts are counted over all runs.
	{"AttemptsOverRuns", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		for n := 1; n <= 3; n++ {
			o := f.claimed(journal.Activate, journal.Call)
			if o.Attempts != n-1 || o.Waits != n-1 {
				f.Fatalf("before attempt %d: %+v", n, o)
			}
			s := sendOf(o, wide())
			s.Flagged = n == 3
			id, err := f.j.BeginAttempt(f.ctx, s)
			f.ok(err)
			end := &journal.AttemptEnd{NotSent: true, At: f.clock.now(), Outcome: "not_executed"}
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Waiting, Due: f.clock.now().Add(time.Minute), Attempt: id, End: end, Reason: "not_executed"})
			f.clock.advance(time.Minute)
		}
		o := f.claimed(journal.Activate, journal.Call)
		if o.Attempts != 3 || o.Waits != 3 || o.Reason != "not_executed" {
			f.Fatalf("claimed %+v", o)
		}
		d := f.state(o.UUID)
		if len(d.Tries) != 3 || d.Tries[1].Number != 2 || d.Tries[1].Flagged || !d.Tries[2].Flagged || d.Tries[2].End == nil || !d.Tries[2].End.NotSent ||
			d.Tries[2].End.Outcome != "not_executed" || d.Tries[2].HasReceipt {
			f.Fatalf("tries are %+v", d.Tries)
		}
	}},
	// Without a permit nothing is sent.
	{"NoPermit", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		o := f.claimed(journal.Activate, journal.Call)
		p := journal.Permit{RateLimit: "account/default", Limit: 1, Window: 30 * time.Second, Slack: time.Minute}
		id, err := f.j.BeginCheck(f.ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: 10 * time.Second, Permits: []journal.Permit{p}})
		f.ok(err)
		_, err = f.j.BeginAttempt(f.ctx, sendOf(o, p))
		none, ok := errors.AsType[*journal.NoPermitError](err)
		if !ok || none.RateLimit != p.RateLimit || !none.Next.Equal(f.clock.now().Add(100*time.Second)) {
			f.Fatalf("error is %#v", err)
		}
		f.wantState(o.UUID, journal.Claimed)
		f.ok(f.j.EndAttempt(f.ctx, id, journal.AttemptEnd{NotSent: true, At: f.clock.now()}))
		if _, err := f.j.BeginAttempt(f.ctx, sendOf(o, p)); err != nil {
			f.Fatal(err)
		}
	}},
	// A check is an attempt of no operation.
	{"CheckWithoutOperation", func(f *fixture) {
		_, err := f.j.BeginCheck(f.ctx, journal.Check{Account: "nobody", SendBy: time.Second, Deadline: time.Second})
		want(f.T, err, journal.ErrNotFound)
		id, err := f.j.BeginCheck(f.ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{wide()}})
		f.ok(err)
		f.ok(f.j.EndAttempt(f.ctx, id, *f.answered(200)))
		f.ok(f.j.EndAttempt(f.ctx, id, *f.answered(401))) // the first end holds
		want(f.T, f.j.EndAttempt(f.ctx, id+100, *f.answered(200)), journal.ErrNotFound)
		if s := stats(f); len(s.Operations) != 0 {
			f.Fatalf("operations are %+v", s.Operations)
		}
	}},
	// Times that make no sense are refused.
	{"InvalidTimes", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		o := f.claimed(journal.Activate, journal.Call)
		for _, d := range [][2]time.Duration{{0, time.Second}, {time.Second, 0}, {2 * time.Second, time.Second}} {
			s := sendOf(o, wide())
			s.SendBy, s.Deadline = d[0], d[1]
			if _, err := f.j.BeginAttempt(f.ctx, s); err == nil {
				f.Errorf("send-by %v with deadline %v was taken", d[0], d[1])
			}
		}
		for _, p := range []journal.Permit{{Limit: 1, Window: time.Second}, {RateLimit: "x", Limit: 1}, {RateLimit: "x", Limit: 1, Window: time.Second, Slack: -1}} {
			if _, err := f.j.BeginAttempt(f.ctx, sendOf(o, p)); err == nil {
				f.Errorf("permit %+v was taken", p)
			}
		}
		if _, err := f.j.BeginAttempt(f.ctx, sendOf(o, wide(), wide())); err == nil {
			f.Error("a ledger named twice was taken")
		}
		f.send(o)
	}},
	// An operation that was never claimed cannot be sent.
	{"NeverClaimed", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		_, err := f.j.BeginAttempt(f.ctx, journal.AttemptStart{Ref: journal.ClaimRef{Operation: 1, Claim: 0}, Attempt: 1, SendBy: 1e9, Deadline: 1e9})
		want(f.T, err, journal.ErrStale)
		_, err = f.j.BeginAttempt(f.ctx, journal.AttemptStart{Ref: journal.ClaimRef{Operation: 77, Claim: 1}, Attempt: 1, SendBy: 1e9, Deadline: 1e9})
		want(f.T, err, journal.ErrStale)
	}},
}

// crashless checks that the attempt is in the journal as it was made.
func (f *fixture) crashless(o journal.ClaimedOperation, id journal.AttemptID) {
	f.Helper()
	d := f.state(o.UUID)
	if d.State != journal.Sending || d.Attempts != 1 || len(d.Tries) != 1 || d.Tries[0].ID != id || d.Tries[0].End != nil || !d.Tries[0].Started.Equal(f.clock.now()) {
		f.Fatalf("the journal says %+v", d)
	}
}
