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

// Refusals of many shops pause the account until a person opens it, or the
// settings change: then one call tries.
func TestRefusals_OfManyShopsPause(t *testing.T) {
	for _, exit := range []string{"a person", "changed settings", "changed settings that do not help"} {
		t.Run(exit, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refused := true
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if refused && op == invoicebox.Activate {
						return refusal(422)
					}
					return good(op, value, n)
				})
				b.cfg.Concurrency = 1
				const shops = 3 * breaker.RefusalsToPause
				for i := range shops {
					b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i))
				}
				b.start()
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				calls := len(b.api.asked(invoicebox.Activate))
				if g := b.j.circuit(); calls != breaker.RefusalsToPause || g.State != journal.CircuitPaused || g.Reason != string(onboarding.ReasonRefusals) {
					t.Fatalf("%d calls, circuit breaker %+v", calls, g)
				}
				if exit == "changed settings that do not help" {
					b.engine.TokenChanged("default")
					time.Sleep(time.Hour)
					if g := b.j.circuit(); len(b.api.asked(invoicebox.Activate)) != calls+1 || g.State != journal.CircuitPaused {
						t.Errorf("%d calls, circuit breaker %+v", len(b.api.asked(invoicebox.Activate)), g)
					}
				}
				refused = false
				if exit == "a person" {
					b.j.setCircuit("default", journal.Circuit{State: journal.CircuitActive, Since: time.Now()})
				} else {
					b.engine.TokenChanged("default")
				}
				b.until(time.Minute, "settled", b.j.settled)
				b.finish()
			})
		})
	}
}

// A wrong address: three calls, then checks of the token, and one trial for
// each good one; when the address is right again all goes on by itself.
func TestRefusals_WrongAddressIsTriedOnceForEachGoodCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := true
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			if wrong && op == invoicebox.Invite {
				return answer{status: 404, body: "<html>"}
			}
			return good(op, value, n)
		})
		b.cfg.Concurrency = 1
		for i := range 100 {
			b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprint(i, "@example.com"))
		}
		b.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		calls, checks := len(b.api.asked(invoicebox.Invite)), len(b.api.asked(invoicebox.CheckOwn))
		if checks < 12 || calls < breaker.FaultsToPause+checks-1 || calls > breaker.FaultsToPause+checks {
			t.Errorf("%d calls and %d checks in an hour", calls, checks)
		}
		wrong = false
		b.until(10*time.Minute, "settled", b.j.settled)
		b.finish()
		if g := b.j.circuit(); g.State != journal.CircuitActive {
			t.Errorf("circuit breaker %+v", g)
		}
	})
}
