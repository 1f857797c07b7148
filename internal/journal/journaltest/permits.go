package journaltest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"invoicebox-worker/internal/journal"
)

// narrow is a permit that is soon used up.
func narrow(limit int) journal.Permit {
	return journal.Permit{RateLimit: "account/" + account, Limit: limit, Window: 30 * time.Second, Slack: time.Minute}
}

// check starts an attempt of 10 s that takes the permits.
func (f *fixture) check(ps ...journal.Permit) (journal.AttemptID, error) {
	return f.j.BeginCheck(f.ctx, journal.Check{Account: account, SendBy: 5 * time.Second, Deadline: 10 * time.Second, Permits: ps})
}

func (f *fixture) mustCheck(ps ...journal.Permit) journal.AttemptID {
	f.Helper()
	id, err := f.check(ps...)
	f.ok(err)
	return id
}

// free compares what a ledger has left; next counts from now.
func (f *fixture) free(p journal.Permit, want int, next time.Duration) {
	f.Helper()
	n, at, err := f.j.AvailablePermits(f.ctx, p)
	f.ok(err)
	if n != want || n == 0 && at.Sub(f.clock.now()) != next {
		f.Fatalf("%d free, next in %v; want %d, %v", n, at.Sub(f.clock.now()), want, next)
	}
}

var permits = []part{
	// A permit comes back a whole window after its answer, not a part of a microsecond before.
	{"WholeWindowInMicroseconds", func(f *fixture) {
		p := journal.Permit{RateLimit: "x", Limit: 1, Window: time.Second}
		id, err := f.j.BeginCheck(f.ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{p}})
		f.ok(err)
		f.clock.advance(time.Millisecond)
		f.ok(f.j.EndAttempt(f.ctx, id, journal.AttemptEnd{Answered: true, At: f.clock.now().Add(time.Nanosecond)}))
		f.clock.advance(time.Second)
		n, _, err := f.j.AvailablePermits(f.ctx, p)
		f.ok(err)
		f.clock.advance(time.Microsecond)
		later, _, err := f.j.AvailablePermits(f.ctx, p)
		f.ok(err)
		if n != 0 || later != 1 {
			f.Fatalf("%d permits after a window, %d after it", n, later)
		}
	}},
	// A permit comes back a window after the answer.
	{"WindowAfterResponse", func(f *fixture) {
		p := narrow(2)
		f.free(p, 2, 0)
		a, b := f.mustCheck(p), f.mustCheck(p)
		f.free(p, 0, 100*time.Second) // deadline, slack and window
		f.clock.advance(5 * time.Second)
		f.ok(f.j.EndAttempt(f.ctx, a, *f.answered(200)))
		f.free(p, 0, 30*time.Second)
		f.clock.advance(4 * time.Second)
		f.ok(f.j.EndAttempt(f.ctx, b, *f.answered(500)))
		f.clock.advance(26*time.Second - time.Microsecond)
		f.free(p, 0, time.Microsecond)
		_, err := f.check(p)
		none, ok := errors.AsType[*journal.NoPermitError](err)
		if !ok || !none.Next.Equal(f.clock.now().Add(time.Microsecond)) {
			f.Fatalf("error is %v", err)
		}
		f.clock.advance(time.Microsecond)
		f.free(p, 1, 0)
		f.mustCheck(p)
		f.free(p, 0, 4*time.Second)
	}},
	// A request whose permit makes no sense does not have others of its transaction pass the limit.
	{"InvalidPermitInTransaction", func(f *fixture) {
		p := narrow(1)
		f.ok(f.j.EndAttempt(f.ctx, f.mustCheck(p), *f.answered(200)))
		f.clock.advance(time.Second)
		senseless := p
		senseless.Window = 0
		start := func(p journal.Permit) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := f.j.BeginCheck(ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{p}})
				return err
			}
		}
		errs := f.together(start(senseless), start(p))
		if _, ok := errors.AsType[*journal.NoPermitError](errs[1]); errs[0] == nil || !ok {
			f.Fatalf("errors are %v", errs)
		}
	}},
	// A ledger that one transaction has filled says when a permit is back.
	{"FullLimitNext", func(f *fixture) {
		p := narrow(3)
		f.ok(f.j.EndAttempt(f.ctx, f.mustCheck(p), *f.answered(200)))
		f.clock.advance(10 * time.Second)
		f.mustCheck(p) // until 100 s from now; the first one until 20 s from now
		start := func(p journal.Permit) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := f.j.BeginCheck(ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{p}})
				return err
			}
		}
		first, full, narrower := start(p), start(p), start(narrow(2))
		errs := f.together(first, full, narrower)
		f.ok(errs[0])
		for i, want := range []time.Duration{20 * time.Second, 91 * time.Second} {
			none, ok := errors.AsType[*journal.NoPermitError](errs[1+i])
			if !ok || !none.Next.Equal(f.clock.now().Add(want)) {
				f.Fatalf("error is %v, want a permit %v from %v", errs[1+i], want, f.clock.now())
			}
		}
	}},
	// A permit that makes no sense is refused, and changes nothing.
	{"InvalidPermit", func(f *fixture) {
		p := narrow(1)
		f.mustCheck(p)
		senseless := p
		senseless.Window = 0
		if _, err := f.check(senseless); err == nil {
			f.Error("a window of no length was taken")
		}
		if _, _, err := f.j.AvailablePermits(f.ctx, senseless); err == nil {
			f.Error("a window of no length has permits")
		}
		f.free(p, 0, 100*time.Second)
	}},
	// What was not sent comes back at once.
	{"NotSentReturns", func(f *fixture) {
		p := narrow(1)
		id := f.mustCheck(p)
		f.free(p, 0, 100*time.Second)
		signalled(f.j.Changed())
		f.ok(f.j.EndAttempt(f.ctx, id, journal.AttemptEnd{NotSent: true, At: f.clock.now()}))
		if !signalled(f.j.Changed()) {
			f.Error("who waits for a permit was not told")
		}
		f.free(p, 1, 0)
	}},
	// Without an answer slack and a window pass.
	{"NoResponse", func(f *fixture) {
		p := narrow(1)
		id := f.mustCheck(p)
		f.clock.advance(3 * time.Second)
		f.ok(f.j.EndAttempt(f.ctx, id, journal.AttemptEnd{At: f.clock.now()}))
		f.free(p, 0, 90*time.Second)
	}},
	// Without an end the deadline, slack and a window pass.
	{"NoEnd", func(f *fixture) {
		p := narrow(1)
		f.mustCheck(p)
		f.clock.advance(100*time.Second - time.Microsecond)
		f.free(p, 0, time.Microsecond)
		f.clock.advance(time.Microsecond)
		f.free(p, 1, 0)
	}},
	// Two ledgers give both or none.
	{"TwoLimits", func(f *fixture) {
		p, egress := narrow(5), journal.Permit{RateLimit: "egress", Limit: 1, Window: 30 * time.Second, Slack: time.Minute}
		f.mustCheck(p, egress)
		_, err := f.check(p, egress)
		if none, ok := errors.AsType[*journal.NoPermitError](err); !ok || none.RateLimit != "egress" {
			f.Fatalf("error is %v", err)
		}
		f.free(p, 4, 0)
		f.free(egress, 0, 100*time.Second)
		f.mustCheck(p)
		f.free(p, 3, 0)
	}},
	// Two ledgers wait the longer slack of an attempt, before a restart and after.
	{"LongerSlack", func(f *fixture) {
		p, egress := narrow(1), journal.Permit{RateLimit: "egress", Limit: 1, Window: 30 * time.Second, Slack: 2 * time.Minute}
		f.mustCheck(p, egress)
		f.free(p, 0, 160*time.Second)
		f.free(egress, 0, 160*time.Second)
		f.crash()
		f.free(p, 0, 160*time.Second)
	}},
	// A failed step returns its permits.
	{"FailedStep", func(f *fixture) {
		p := narrow(3)
		f.ingest(f.code("s", "e1", "1"))
		o := f.claimed(journal.Activate, journal.Call)
		s := sendOf(o, p)
		s.Attempt = 9
		_, err := f.j.BeginAttempt(f.ctx, s)
		want(f.T, err, journal.ErrStale)
		f.free(p, 3, 0)
	}},
	// Attempts count after a restart.
	{"Restart", func(f *fixture) {
		p := narrow(5)
		answered, lost, unsent, open := f.mustCheck(p), f.mustCheck(p), f.mustCheck(p), f.mustCheck(p)
		f.clock.advance(2 * time.Second)
		f.ok(f.j.EndAttempt(f.ctx, answered, *f.answered(200)))
		f.ok(f.j.EndAttempt(f.ctx, lost, journal.AttemptEnd{At: f.clock.now()}))
		f.ok(f.j.EndAttempt(f.ctx, unsent, journal.AttemptEnd{NotSent: true, At: f.clock.now()}))
		f.clock.advance(time.Second)
		f.crash()
		f.free(p, 2, 0)
		f.mustCheck(p)
		f.mustCheck(p)
		f.free(p, 0, 29*time.Second)
		f.clock.advance(29 * time.Second)
		f.free(p, 1, 0)
		f.crash()
		f.free(p, 1, 0)
		f.mustCheck(p)
		f.free(p, 0, 60*time.Second) // of the lost one
		f.ok(f.j.EndAttempt(f.ctx, open, *f.answered(200)))
		f.free(p, 0, 30*time.Second) // an end that comes late is an end
	}},
	// An attempt that ended late counts after a restart.
	{"LateEndAfterRestart", func(f *fixture) {
		p := narrow(1)
		id := f.mustCheck(p)
		f.clock.advance(3 * time.Hour) // a process that was stopped
		f.ok(f.j.EndAttempt(f.ctx, id, *f.answered(200)))
		f.crash()
		f.free(p, 0, 30*time.Second)
	}},
	// A long deadline is known to a restart.
	{"LongDeadlineAfterRestart", func(f *fixture) {
		p := narrow(1)
		_, err := f.j.BeginCheck(f.ctx, journal.Check{Account: account, SendBy: time.Hour, Deadline: time.Hour, Permits: []journal.Permit{p}})
		f.ok(err)
		f.clock.advance(50 * time.Minute)
		f.crash()
		f.free(p, 0, 10*time.Minute+90*time.Second)
	}},
	// A limit can be changed.
	{"ChangedLimit", func(f *fixture) {
		f.mustCheck(narrow(3))
		f.mustCheck(narrow(3))
		f.free(narrow(1), 0, 100*time.Second)
		f.free(narrow(10), 8, 0)
		f.free(narrow(0), 0, 30*time.Second)
	}},
	// No window ever holds more than the limit.
	{"NeverAboveLimit", testWindows},
}

// testWindows makes attempts as fast as permitted, with responses, losses and crashes, and
// then counts every window. A server may have counted a request at any time from its start
// to its response or, without a response, to the end of its slack.
func testWindows(f *fixture) {
	const limit = 7
	p := narrow(limit)
	r := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- moments of a test
	type span struct{ from, to time.Time }
	var spans []span
	open := make(map[journal.AttemptID]int)
	for range 600 {
		switch r.IntN(10) {
		case 0, 1, 2, 3, 4:
			id, err := f.check(p)
			if _, none := errors.AsType[*journal.NoPermitError](err); none {
				f.clock.advance(time.Duration(r.IntN(5000)) * time.Millisecond)
				continue
			}
			f.ok(err)
			open[id] = len(spans)
			spans = append(spans, span{f.clock.now(), f.clock.now().Add(10*time.Second + p.Slack)})
		case 5, 6, 7, 8:
			for id, i := range open {
				end := journal.AttemptEnd{Answered: r.IntN(4) > 0, At: f.clock.now()}
				if spans[i].to = f.clock.now(); !end.Answered {
					spans[i].to = spans[i].to.Add(p.Slack)
				}
				f.ok(f.j.EndAttempt(f.ctx, id, end))
				delete(open, id)
				break
			}
			f.clock.advance(time.Duration(r.IntN(1000)) * time.Millisecond)
		case 9:
			if r.IntN(8) == 0 {
				f.crash()
				clear(open)
			}
		}
	}
	if len(spans) < 50 {
		f.Fatalf("only %d attempts were made", len(spans))
	}
	// The worst window ends with the latest possible count of a request, and contains all
	// that can be counted within it.
	for _, last := range spans {
		n := 0
		for _, s := range spans {
			if !s.from.After(last.from) && s.to.After(last.from.Add(-p.Window)) {
				n++
			}
		}
		if n > limit {
			f.Fatalf("%d requests can lie in the window before %v", n, last.from)
		}
	}
}
