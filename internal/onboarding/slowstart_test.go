package onboarding

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
)

// The bound after each of a row of responses: + is one that is stored, and a
// letter the shop of one that cannot be used.
func TestSlowStart(t *testing.T) {
	for _, c := range []struct {
		concurrency int
		responses   string
		want        []int // 0: none
	}{
		{64, "", []int{3}},
		{64, "+++++", []int{3, 6, 12, 24, 48, 0}},
		{64, "++++++a+", []int{3, 6, 12, 24, 48, 0, 0, 2, 4}},
		{64, "abcd", []int{3, 2, 1, 1, 1}},
		{64, "aaa", []int{3, 2, 2, 2}},
		{64, "abc+a", []int{3, 2, 1, 1, 2, 2}},
		{64, "+a+b++++++", []int{3, 6, 2, 4, 2, 4, 8, 16, 32, 0, 0}},
		{6, "+", []int{3, 0}},
		{1, "", []int{3}},
		{1, "+a", []int{3, 0, 2}},
	} {
		now := time.Now()
		g := newGate(Config{Concurrency: c.concurrency}.withDefaults(), journal.Gate{State: journal.GateOpen}, now)
		for i := range c.want {
			if i > 0 {
				s := sigUnusable
				if c.responses[i-1] == '+' {
					s = sigUsable
				}
				g.tellOf(c.responses[i-1:i], s, 0, false, now)
			}
			if g.start.bound != c.want[i] {
				t.Errorf("concurrency %d, after %q: bound %d, want %d", c.concurrency, c.responses[:i], g.start.bound, c.want[i])
			}
			free := unlimited
			if c.want[i] > 0 {
				free = max(0, c.want[i]-2)
			}
			if got := g.activations(2); got != free {
				t.Errorf("concurrency %d, after %q: %d free beside two, want %d", c.concurrency, c.responses[:i], got, free)
			}
		}
	}
}

// No other signal says that a success can be read, or that it cannot.
func TestSlowStartIgnoresOtherSignals(t *testing.T) {
	for s := sigNone; s <= lastSignal; s++ {
		for _, trial := range []bool{false, true} {
			g, now := testGate()
			g.tellOf("shop", s, time.Second, trial, now)
			if changed := g.start.bound != slowStartBound; changed != (s == sigUsable || s == sigUnusable) {
				t.Errorf("%s (trial %v): bound %d", signalNames[s], trial, g.start.bound)
			}
		}
	}
}

// What another replica learned of responses holds here too.
func TestSlowStartAfterAnotherReplicasPause(t *testing.T) {
	for _, state := range []journal.GateState{journal.GatePaused, journal.GateResting} {
		for _, reason := range []Reason{ReasonAnswers, ReasonOperator} {
			g, now := testGate()
			for range 10 {
				g.tell(sigUsable, 0, false, now)
			}
			g.adopt(journal.Gate{State: state, Reason: string(reason)}, now)
			g.adopt(journal.Gate{State: journal.GateOpen}, now)
			if got, want := g.activations(0) == unlimited, reason != ReasonAnswers; got != want {
				t.Errorf("%s for %s: unlimited %v", state, reason, got)
			}
		}
	}
}

// Codes of 60 shops come at once and no response can be used: three are spent.
func TestSlowStartSpendsFewCodes(t *testing.T) {
	for name, c := range map[string]struct {
		concurrency int
		latency     func(n int) time.Duration
		answer      string
	}{
		"64 at once, all at one time": {64, func(int) time.Duration { return 0 }, `{"data":{"merchant":"m","key":"t"}}`},
		"64 at once, one by one":      {64, func(n int) time.Duration { return time.Duration(n) * time.Second }, `{"data":{"merchant":"m","key":"t"}}`},
		"64 at once, the last first":  {64, func(n int) time.Duration { return time.Duration(9-n) * time.Second }, `no JSON`},
		"one at a time":               {1, func(int) time.Duration { return 0 }, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				b := newBench(t, func(op invoicebox.Operation, value string, n int) answer {
					if op != invoicebox.Activate {
						return good(op, value, n)
					}
					sent++
					return answer{status: 200, body: c.answer, after: c.latency(sent)}
				})
				b.cfg.Concurrency = c.concurrency
				var codes []*operation
				for i := range 60 {
					codes = append(codes, b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i)))
				}
				b.start()
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := len(b.api.asked(invoicebox.Activate)); n != unusableToPause {
					t.Errorf("%d codes were sent, want %d", n, unusableToPause)
				}
				if g := b.j.gate(); g.State != journal.GatePaused || g.Reason != string(ReasonAnswers) {
					t.Errorf("gate %+v", g)
				}
				planned := 0
				for _, op := range codes {
					if s, _ := b.j.state(op); s == journal.Planned {
						planned++
					}
				}
				if planned != len(codes)-unusableToPause {
					t.Errorf("%d codes wait", planned)
				}
				b.finish()
			})
		})
	}
}

// With responses that can be used the bound costs a few round trips: three, six
// and the rest, each of a call and the check of its token.
func TestSlowStartEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, good)
		b.cfg.Accounts[0].Requests = 1000
		for i := range 60 {
			b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i))
		}
		began := time.Now()
		b.start()
		b.until(time.Second, "settled", b.j.settled)
		b.finish()
		if took, trip := time.Since(began), 2*b.api.latency; took > 4*trip {
			t.Errorf("60 codes took %v, %v a round trip", took, trip)
		}
	})
}

// A bound that is used up claims nothing, frees no permit for others and wakes
// nobody; the end of an activation wakes the dispatcher at once.
func TestSlowStartWaitsWithoutClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(op invoicebox.Operation, value string, n int) answer {
			a := good(op, value, n)
			if op == invoicebox.Activate {
				a.after = 20 * time.Second
			}
			return a
		})
		b.cfg.Accounts = append(b.cfg.Accounts, Account{Name: "other", Client: b.api})
		b.j.account("other")
		for i := range 60 {
			b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i))
			b.add(journal.Invite, fmt.Sprint("i-", i), fmt.Sprint(i, "@example.com"))
			b.addOf("other", journal.Invite, fmt.Sprint("o-", i), fmt.Sprint("o-", i, "@example.com"))
		}
		b.start()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		claims, dues := 0, b.j.dueCalls()
		for _, c := range b.j.claims() {
			if c.Kind == journal.Activate {
				claims += c.Limit
			}
		}
		if n := len(b.api.asked(invoicebox.Activate)); n != slowStartBound || claims != slowStartBound {
			t.Errorf("%d codes are sent and %d claimed, want %d", n, claims, slowStartBound)
		}
		mine, others := 0, 0
		for _, c := range b.api.asked(invoicebox.Invite) {
			if c.value[0] == 'o' {
				others++
			} else {
				mine++
			}
		}
		// The account's own leave what may be called at once to the codes.
		if others != 60 || mine < 100/10 || mine > 100-b.cfg.withDefaults().Concurrency {
			t.Errorf("%d invitations of the account, %d of the other", mine, others)
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		dues = b.j.dueCalls() - dues
		if n := dues; n > 4 {
			t.Errorf("%d looks for work while nothing may be claimed", n)
		}
		time.Sleep(1250 * time.Millisecond)
		synctest.Wait()
		if n := len(b.api.asked(invoicebox.Activate)); n < 4*slowStartBound {
			t.Errorf("%d codes are sent a moment after the first have ended", n)
		}
		b.until(5*time.Minute, "settled", b.j.settled)
		b.finish()
	})
}

// The one good response of a trial opens the gate and not the bound: when all
// others are of no use again, three more codes are spent.
func TestSlowStartAfterATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		b := newBench(t, func(op invoicebox.Operation, value string, n int) answer {
			a := good(op, value, n)
			if op == invoicebox.Activate {
				if sent++; sent != unusableToPause+1 {
					a.body = `{}`
				}
			}
			return a
		})
		for i := range 60 {
			b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i))
		}
		b.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		i := b.j.ask(b.keys, journal.Intent{Act: string(CommandResume)}, "")
		b.ended(i, ResultResumed)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(b.api.asked(invoicebox.Activate)); n != 2*unusableToPause+1 {
			t.Errorf("%d codes were sent", n)
		}
		if g := b.j.gate(); g.State != journal.GatePaused || g.Reason != string(ReasonAnswers) {
			t.Errorf("gate %+v", g)
		}
		b.finish()
	})
}
