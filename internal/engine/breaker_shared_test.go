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

// A journal that fails in the middle of a look for work takes no account's trial
// along: whichever account was planned before the failure.
func TestSharedBreaker_TrialSurvivesAFailureOfTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.j.account("second")
		b.cfg.Accounts = append(b.cfg.Accounts, Account{Name: "second", Client: b.api})
		limited := journal.Circuit{State: journal.CircuitThrottled, Until: time.Now().Add(-time.Minute), Since: time.Now().Add(-time.Hour)}
		ops := map[string]*operation{}
		for _, name := range []string{"default", "second"} {
			b.j.setCircuit(name, limited)
			ops[name] = b.addOf(name, journal.Invite, "shop", "a@example.com")
		}
		failures := 2 // in a row: the accounts take turns in who is looked at first
		b.j.failing(func(step string, _ bool) error {
			if step == "AvailablePermits account/second" && failures > 0 {
				failures--
				return errors.New("the journal fails")
			}
			return nil
		})
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		for name, op := range ops {
			if b.j.record(op).State != journal.Done {
				t.Errorf("%s: %v", name, b.j.record(op).State)
			}
		}
	})
}

// A breaker that another replica closes is closed here within a second, on an idle
// journal and on one that tells of changes all the time.
func TestSharedBreaker_ChangedElsewhereIsSeenWithinASecond(t *testing.T) {
	for _, every := range []time.Duration{time.Hour, time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, good)
			b.start()
			time.Sleep(time.Minute)
			synctest.Wait()
			dues, lists := b.j.dueCalls(), b.j.accountCalls()
			paused := journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonOperator), Since: time.Now()}
			if err := b.j.SetCircuit(t.Context(), "default", paused, nil); err != nil {
				t.Fatal(err)
			}
			for began := time.Now(); time.Since(began) < time.Second; time.Sleep(min(every, time.Second)) {
				b.j.signal()
				synctest.Wait()
			}
			synctest.Wait()
			if !b.engine.accounts["default"].breaker.Blocks(false) {
				t.Errorf("signals every %v: the circuit breaker is still open after a second", every)
			}
			if every < time.Second && b.j.dueCalls()-dues < 500 {
				t.Errorf("only %d looks for work", b.j.dueCalls()-dues)
			}
			if n := b.j.accountCalls() - lists; n > 6 {
				t.Errorf("the circuit breakers were read %d times in a second", n)
			}
			b.finish()
		})
	}
}

// What a replica has learned before a person, or another replica, changed the
// breaker does not undo that.
func TestSharedBreaker_PauseIsNotUndoneByWhatWasLearnedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.api.latency = 10 * time.Second
		b.j.setCircuit("default", journal.Circuit{State: journal.CircuitThrottled, Reason: "limited", Until: time.Now().Add(time.Second)})
		op := b.add(journal.Invite, "shop-1", "a@example.com")
		b.start()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := len(b.api.asked(invoicebox.Invite)); n != 1 {
			t.Fatalf("%d calls, want the trial", n)
		}
		// The journal does not tell, as where the network to it is slow.
		paused := journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonOperator), Since: time.Now()}
		b.j.setMute(true)
		b.j.setCircuit("default", paused)
		synctest.Wait()
		b.j.setMute(false)
		b.engine.accounts["default"].breaker.Record(breaker.SignalAnswered, 0, true, time.Now())
		b.engine.breakerChanged(b.engine.accounts["default"])
		time.Sleep(time.Minute)
		b.finish()
		if b.j.record(op).State != journal.Done {
			t.Errorf("the call in flight came to %v", b.j.record(op).State)
		}
		if got := b.j.circuit(); got.State != paused.State || got.Reason != paused.Reason {
			t.Errorf("the circuit breaker is %+v", got)
		}
		if !b.engine.accounts["default"].breaker.Blocks(false) {
			t.Error("the pool goes on")
		}
	})
}

// When a limit is over one of several replicas tries the account, however many
// have work for it; when that one dies, another does.
func TestSharedBreaker_OneReplicaTriesTheAccount(t *testing.T) {
	for _, dies := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, good)
			b.api.latency = 5 * time.Second
			b.j.setCircuit("default", journal.Circuit{State: journal.CircuitThrottled, Reason: "limited", Until: reported(time.Now().Add(time.Minute)), Since: time.Now()})
			for i := range 10 {
				b.add(journal.Invite, fmt.Sprint("shop-", i), "a@example.com")
			}
			replicas := []*harness{b, {t: t, keys: b.keys, j: b.j, api: b.api, cfg: b.cfg}, {t: t, keys: b.keys, j: b.j, api: b.api, cfg: b.cfg}}
			for _, r := range replicas {
				r.start()
			}
			if dies { // the fourth replica: it has taken the trial, and nobody hears of it again
				time.Sleep(time.Minute - time.Second)
				if err := b.j.ReserveTrial(t.Context(), "default", b.j.circuit(), reported(time.Now().Add(30*time.Second))); err != nil {
					t.Fatal(err)
				}
				b.j.signal()
				time.Sleep(31 * time.Second)
			} else {
				time.Sleep(time.Minute + 4*time.Second)
			}
			synctest.Wait()
			if n := len(b.api.asked(invoicebox.Invite)); n != 1 {
				t.Errorf("dies %v: %d calls while the account is tried", dies, n)
			}
			b.until(time.Minute, "settled", b.j.settled)
			if n := len(b.api.asked(invoicebox.Invite)); n != 10 {
				t.Errorf("dies %v: %d calls, want 10", dies, n)
			}
			for _, r := range replicas {
				r.finish()
			}
		})
	}
}

// A trial that came to no call, as its process was asked to stop, is anybody's at
// once.
func TestSharedBreaker_TrialThatWasNotSentIsLeftToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.j.setCircuit("default", journal.Circuit{State: journal.CircuitThrottled, Reason: "limited", Until: reported(time.Now().Add(time.Minute)), Since: time.Now()})
		op := b.add(journal.Invite, "shop-1", "a@example.com")
		began := time.Now()
		var tried atomic.Bool
		b.j.failing(func(step string, _ bool) error {
			if strings.HasPrefix(step, "BeginAttempt") && !tried.Swap(true) {
				b.stop()
				return errors.New("the journal fails")
			}
			return nil
		})
		b.start()
		b.until(2*time.Minute, "tried", tried.Load)
		b.finish()
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		if took := time.Since(began); b.j.record(op).State != journal.Done || took > 65*time.Second {
			t.Errorf("it is %v after %v", b.j.record(op).State, took)
		}
	})
}

// The one call that a restart allows a paused account is agreed on by all
// replicas: a reader of the journal does not take it back.
func TestSharedBreaker_RestartsTrialIsInTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.j.setCircuit("default", journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonRights), Since: time.Now()})
		b.start()
		time.Sleep(time.Second)
		synctest.Wait()
		if g := b.j.circuit(); g.State != journal.CircuitBackingOff || g.Reason != string(onboarding.ReasonRights) {
			t.Errorf("the journal says %+v", g)
		}
		op := b.add(journal.Invite, "shop-1", "a@example.com")
		b.j.signal()
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		if b.j.record(op).State != journal.Done || b.j.circuit().State != journal.CircuitActive {
			t.Errorf("%v, and the circuit breaker is %+v", b.j.record(op).State, b.j.circuit())
		}
	})
}
