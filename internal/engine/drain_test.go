package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// Stopping in the middle of everything: nothing is lost, nothing is made
// unknown, nobody waits for a lease.
func TestDrain_UnderLoad(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 13 * time.Millisecond, 60 * time.Millisecond, 117 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, good)
				b.cfg.Concurrency, b.cfg.EgressRequests, b.cfg.Accounts[0].Requests = 8, 10_000, 10_000
				b.j.slow(2 * time.Millisecond)
				for i := range 100 {
					b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i))
				}
				b.start()
				time.Sleep(after)
				began := time.Now()
				b.finish()
				if took := time.Since(began); took > time.Second {
					t.Errorf("drained in %v", took)
				}
				calls := len(b.api.asked(invoicebox.Activate))
				for _, op := range b.j.ops {
					held := b.j.column(op, "leased") != 0
					if held || b.j.record(op).State == journal.Claimed || b.j.record(op).State == journal.Sending || b.j.record(op).State == journal.Unknown {
						t.Errorf("operation %d is left %v, held %v", op.id, b.j.record(op).State, held)
					}
					if len(b.j.receipts(op)) > 0 && b.j.record(op).State != journal.Stored && b.j.record(op).State != journal.Done {
						t.Errorf("operation %d has an answer and is %v", op.id, b.j.record(op).State)
					}
				}
				if calls < 100 && b.j.settled() {
					t.Error("settled without calls")
				}
				// And the next process finishes the rest, each code sent once.
				b.run(time.Minute)
				seen := map[string]int{}
				for _, c := range b.api.asked(invoicebox.Activate) {
					if seen[c.value]++; seen[c.value] > 1 {
						t.Errorf("%s was sent twice", c.value)
					}
				}
				for _, op := range b.j.ops {
					b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
				}
			})
		})
	}
}

func TestDrain_CutsLongCallsAtTheEndOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.cfg.DrainTime = 5 * time.Second
		b.api.latency = 20 * time.Second
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		time.Sleep(time.Second)
		began := time.Now()
		b.finish()
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("drained in %v", took)
		}
		if s, r := b.j.state(op); s != journal.Unknown || r != onboarding.ReasonNoProof {
			t.Errorf("a call that was cut is %v (%s)", s, r)
		}
		if g := b.j.circuit(); g.State != journal.CircuitActive {
			t.Errorf("our own cut closed the circuit breaker: %+v", g)
		}
	})
}

// A received token is written however long the journal refuses, also while
// stopping.
func TestDrain_ReceiptIsTriedUntilItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		var full atomic.Bool
		full.Store(true)
		b.j.failing(func(step string, done bool) error {
			if full.Load() && !done && (step == "SaveResponse" || step == "Apply" || step == "BeginAttempt") && len(b.api.asked(invoicebox.Activate)) > 0 {
				return errors.New("disk full")
			}
			return nil
		})
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.add(journal.Activate, "shop-1", "code-2")
		b.start()
		time.Sleep(time.Second)
		b.stop()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		select {
		case err := <-b.result:
			t.Fatalf("Run ended (%v) with an answer that is not durable", err)
		default:
		}
		full.Store(false)
		if err := <-b.result; err != nil {
			t.Error(err)
		}
		if len(b.j.receipts(op)) != 1 {
			t.Errorf("%d receipts", len(b.j.receipts(op)))
		}
		if !strings.Contains(b.log.String(), "a received response is not saved yet") {
			t.Error("nothing was said loudly")
		}
		b.run(5 * time.Minute) // the lease has ended, the next process goes on
		b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
		if n := len(b.api.asked(invoicebox.Activate)); n != 2 {
			t.Errorf("%d calls for two codes", n)
		}
	})
}

// Each step fails once, before or after it was made. The first check of a token has no
// result: the end of a later one is a step of its own.
func TestDrain_JournalErrorsAtEveryStep(t *testing.T) {
	checkedAgain := func(op invoicebox.Operation, value string, n int) answer {
		if op == invoicebox.Check && n == 0 {
			return answer{status: 500}
		}
		return good(op, value, n)
	}
	for _, step := range []string{"Claim", "BeginAttempt", "SaveResponse", "Apply", "BeginCheck", "EndAttempt", "ReleaseExpiredLeases", "SetCircuit"} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s done %v", step, done), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newHarness(t, checkedAgain)
					failed := 0
					b.j.failing(func(s string, after bool) error {
						if s == step && after == done && failed < 3 {
							failed++
							return errors.New("input/output error")
						}
						return nil
					})
					for i := range 5 {
						b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i))
						b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprint(i, "@example.com"))
					}
					b.run(5 * time.Minute)
					if failed == 0 && step != "SetCircuit" {
						t.Error("the fault was never met")
					}
					for _, op := range b.j.ops {
						if s, r := b.j.state(op); s != journal.Done {
							t.Errorf("operation %d is %v (%s)", op.id, s, r)
						}
						if op.Kind == journal.Activate && len(b.j.receipts(op)) == 0 {
							t.Errorf("operation %d has no receipt", op.id)
						}
						if n := len(b.j.eventsOf(op)); n != 1 {
							t.Errorf("operation %d has %d events", op.id, n)
						}
					}
					if n := len(b.api.asked(invoicebox.Activate)); n != 5 {
						t.Errorf("%d calls for 5 codes", n)
					}
				})
			})
		}
	}
}

// A journal that takes longer for BeginAttempt than send-by allows: nothing is sent late.
func TestDrain_SlowJournalNeverSendsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.j.slow(12 * time.Second)
		op := b.add(journal.Invite, "shop-1", "a@example.com")
		b.start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(b.api.calls); n != 0 {
			t.Errorf("%d calls after their send-by", n)
		}
		b.j.slow(0)
		b.until(5*time.Minute, "settled", b.j.settled)
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonSent, "invited sent")
	})
}

func TestDrain_BreakerFlows(t *testing.T) {
	t.Run("server down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			down := true
			b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
				if down {
					return answer{fail: invoicebox.ReasonConnect, unsent: true}
				}
				return good(op, value, n)
			})
			for i := range 200 {
				b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprint(i, "@example.com"))
			}
			b.start()
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			if g := b.j.circuit(); g.State != journal.CircuitBackingOff {
				t.Errorf("the journal's circuit breaker: %+v", g)
			}
			sends := 0
			for _, s := range b.j.transitions() {
				if strings.HasSuffix(s, "→sending") {
					sends++
				}
			}
			if sends > 64*inFlightPerCall+30 {
				t.Errorf("%d attempts against a server that is down", sends)
			}
			down = false
			b.until(15*time.Minute, "settled", b.j.settled)
			time.Sleep(time.Second)
			if g := b.j.circuit(); g.State != journal.CircuitActive {
				t.Errorf("the journal's circuit breaker at the end: %+v", g)
			}
			b.finish()
			for _, op := range b.j.ops {
				b.expect(op, journal.Done, onboarding.ReasonSent, "invited sent")
			}
		})
	})
	t.Run("token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			bad := true
			b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
				if bad && op != invoicebox.Check {
					return answer{status: 401}
				}
				return good(op, value, n)
			})
			op := b.add(journal.Activate, "shop-1", "code-1")
			b.start()
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := len(b.api.asked(invoicebox.Activate)); n != 1 {
				t.Errorf("%d calls with a token that is refused", n)
			}
			if n := len(b.api.asked(invoicebox.CheckOwn)); n < 12 || n > 18 {
				t.Errorf("%d token checks in an hour", n)
			}
			bad = false
			b.engine.TokenChanged("default")
			b.until(time.Second, "settled", b.j.settled)
			b.finish()
			b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
		})
	})
	t.Run("a good check and a 401 together do not spin", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, always(answer{status: 401}))
			b.add(journal.Activate, "shop-1", "code-1")
			b.start()
			time.Sleep(time.Hour)
			if n := len(b.api.asked(invoicebox.Activate)); n < 5 || n > 20 {
				t.Errorf("%d calls in an hour", n)
			}
			b.finish()
		})
	})
	t.Run("rights pause until a person opens", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, always(refusal(403)))
			b.cfg.Concurrency = 1
			for i := range 20 {
				b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprint(i, "@example.com"))
			}
			b.start()
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if n := len(b.api.asked(invoicebox.Invite)); n != breaker.FaultsToPause {
				t.Errorf("%d calls although the account may not", n)
			}
			if g := b.j.circuit(); g.State != journal.CircuitPaused || g.Reason != string(onboarding.ReasonRights) {
				t.Errorf("circuit breaker %+v", g)
			}
			b.api.script = good
			b.j.setCircuit("default", journal.Circuit{State: journal.CircuitActive, Since: time.Now()})
			b.until(2*breakerRefresh+time.Second, "settled", b.j.settled)
			b.finish()
		})
	})
	t.Run("limited for the whole account, kept over a restart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, steps(answer{status: 429, header: http429("600")}))
			b.cfg.Concurrency = 1
			began := time.Now()
			for i := range 20 {
				b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprint(i, "@example.com"))
			}
			b.start()
			time.Sleep(time.Minute)
			b.finish()
			b.run(20 * time.Minute)
			calls := b.api.asked(invoicebox.Invite)
			for _, c := range calls[1:] {
				if at := c.at.Sub(began); at < 10*time.Minute {
					t.Errorf("a call at %v", at)
				}
			}
		})
	})
}
