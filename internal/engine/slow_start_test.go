package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// Codes of 60 shops come at once and no response can be used: three are spent.
func TestSlowStart_SpendsFewCodes(t *testing.T) {
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
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
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
				if n := len(b.api.asked(invoicebox.Activate)); n != breaker.UnusableToPause {
					t.Errorf("%d codes were sent, want %d", n, breaker.UnusableToPause)
				}
				if g := b.j.circuit(); g.State != journal.CircuitPaused || g.Reason != string(onboarding.ReasonAnswers) {
					t.Errorf("circuit breaker %+v", g)
				}
				planned := 0
				for _, op := range codes {
					if s, _ := b.j.state(op); s == journal.Planned {
						planned++
					}
				}
				if planned != len(codes)-breaker.UnusableToPause {
					t.Errorf("%d codes wait", planned)
				}
				b.finish()
			})
		})
	}
}

// With responses that can be used the bound costs a few round trips: three, six
// and the rest, each of a call and the check of its token.
func TestSlowStart_EndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
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
func TestSlowStart_WaitsWithoutClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
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
		if n := len(b.api.asked(invoicebox.Activate)); n != breaker.SlowStartBound || claims != breaker.SlowStartBound {
			t.Errorf("%d codes are sent and %d claimed, want %d", n, claims, breaker.SlowStartBound)
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
		if n := len(b.api.asked(invoicebox.Activate)); n < 4*breaker.SlowStartBound {
			t.Errorf("%d codes are sent a moment after the first have ended", n)
		}
		b.until(5*time.Minute, "settled", b.j.settled)
		b.finish()
	})
}

// The one good response of a trial opens the breaker and not the bound: when all
// others are of no use again, three more codes are spent.
func TestSlowStart_AfterATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			a := good(op, value, n)
			if op == invoicebox.Activate {
				if sent++; sent != breaker.UnusableToPause+1 {
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
		i := b.j.ask(b.keys, journal.Intent{Act: string(onboarding.ActionResume)}, "")
		b.ended(i, onboarding.ResultResumed)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(b.api.asked(invoicebox.Activate)); n != 2*breaker.UnusableToPause+1 {
			t.Errorf("%d codes were sent", n)
		}
		if g := b.j.circuit(); g.State != journal.CircuitPaused || g.Reason != string(onboarding.ReasonAnswers) {
			t.Errorf("circuit breaker %+v", g)
		}
		b.finish()
	})
}
