package engine

import (
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

// A check that a person asks for is made at once, and its end says what it came to.
func TestAccountCheck(t *testing.T) {
	odd := answer{status: 404, body: "<html>"}
	for name, c := range map[string]struct {
		call, check answer
		pause       onboarding.Reason // "": the account is open
		act         onboarding.Action
		want        onboarding.Result
		then        journal.CircuitState
	}{
		"OpenAndGood":       {answer{}, answer{}, "", onboarding.ActionCheck, onboarding.ResultTokenWorks, journal.CircuitActive},
		"OpenAndRefused":    {answer{}, answer{status: 401}, "", onboarding.ActionCheck, onboarding.ResultAccountTokenRefused, journal.CircuitPaused},
		"OpenAndStrange":    {answer{}, odd, "", onboarding.ActionCheck, onboarding.ResultNotTheAPI, journal.CircuitActive},
		"OpenAndForeign":    {answer{}, answer{status: 422, body: partnerRefusal}, "", onboarding.ActionCheck, onboarding.ResultPartnerRefused, journal.CircuitActive},
		"OpenAndDenied":     {answer{}, answer{status: 403}, "", onboarding.ActionCheck, onboarding.ResultCheckDenied, journal.CircuitActive},
		"OpenAndAway":       {answer{}, answer{fail: invoicebox.ReasonConnect, unsent: true}, "", onboarding.ActionCheck, onboarding.ResultNoAnswer, journal.CircuitActive},
		"OpenAndThrottled":  {answer{}, answer{status: 429}, "", onboarding.ActionCheck, onboarding.ResultAccountThrottled, journal.CircuitThrottled},
		"TokenStillBad":     {answer{status: 401}, answer{status: 401}, onboarding.ReasonToken, onboarding.ActionCheck, onboarding.ResultAccountTokenRefused, journal.CircuitPaused},
		"TokenGood":         {answer{status: 401}, answer{}, onboarding.ReasonToken, onboarding.ActionCheck, onboarding.ResultTokenWorks, journal.CircuitActive},
		"ResumeForToken":    {answer{status: 401}, answer{}, onboarding.ReasonToken, onboarding.ActionResume, onboarding.ResultTokenWorks, journal.CircuitActive},
		"ResumeStillBad":    {answer{status: 401}, answer{status: 401}, onboarding.ReasonToken, onboarding.ActionResume, onboarding.ResultAccountTokenRefused, journal.CircuitPaused},
		"ResumeForAddress":  {odd, answer{}, onboarding.ReasonAddress, onboarding.ActionResume, onboarding.ResultTokenWorks, journal.CircuitBackingOff},
		"ResumeWrongStill":  {odd, odd, onboarding.ReasonAddress, onboarding.ActionResume, onboarding.ResultNotTheAPI, journal.CircuitPaused},
		"ResumeAddressAway": {odd, answer{fail: invoicebox.ReasonConnect, unsent: true}, onboarding.ReasonAddress, onboarding.ActionResume, onboarding.ResultNoAnswer, journal.CircuitPaused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Bool
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					switch {
					case op == invoicebox.CheckOwn && asked.Load() && c.check.bad():
						return c.check
					case op == invoicebox.CheckOwn && !asked.Load() && c.pause != "":
						return c.call
					case op != invoicebox.CheckOwn && c.call.bad():
						return c.call
					}
					return good(op, value, n)
				})
				circuit := func() journal.Circuit {
					return b.j.circuit()
				}
				if c.pause != "" {
					for i := range breaker.FaultsToPause {
						b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i))
					}
				}
				b.start()
				if c.pause != "" {
					b.until(time.Minute, "paused", func() bool { return circuit().State == journal.CircuitPaused && circuit().Reason == string(c.pause) })
					at := b.engine.Status(time.Time{}, time.Now())[0].CheckAt
					if wait := time.Until(at); wait <= 0 || wait > 5*time.Minute {
						t.Errorf("the next check is in %v", wait)
					}
				}
				asked.Store(true)
				began := time.Now()
				end := b.ended(b.j.ask(b.keys, journal.Intent{Act: string(c.act)}, ""), c.want)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if !strings.Contains(end.Detail, "Account default is ") {
					t.Errorf("%q", end.Detail)
				}
				b.until(time.Second, "the circuit breaker is written", func() bool {
					return circuit().State == c.then || c.then == journal.CircuitActive && circuit().State == ""
				})
				b.finish()
			})
		})
	}
}

func (a answer) bad() bool { return a.status != 0 || a.fail != "" }

// Which breakers a person can change, and why not.
func TestAccountCheck_BreakerActions(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		act     onboarding.Action
		circuit journal.Circuit
		want    onboarding.Result
		then    journal.CircuitState
	}{
		{onboarding.ActionPause, journal.Circuit{State: journal.CircuitActive}, onboarding.ResultPaused, journal.CircuitPaused},
		{onboarding.ActionPause, journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonOperator)}, onboarding.ResultPaused, journal.CircuitPaused},
		{onboarding.ActionPause, journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonToken)}, onboarding.ResultPaused, journal.CircuitPaused},
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonOperator)}, onboarding.ResultResumed, journal.CircuitBackingOff},
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonRights)}, onboarding.ResultResumed, journal.CircuitBackingOff},
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitPaused, Reason: "refusals"}, onboarding.ResultResumed, journal.CircuitBackingOff},
		// Asked for before the breaker was paused: TestAccountCheck has the others.
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonToken)}, onboarding.ResultTokenOpens, journal.CircuitPaused},
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonAddress)}, onboarding.ResultTokenOpens, journal.CircuitPaused},
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitActive}, onboarding.ResultNotPaused, journal.CircuitActive},
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitThrottled, Until: now.Add(time.Minute)}, onboarding.ResultNotPaused, journal.CircuitThrottled},
		{onboarding.ActionResume, journal.Circuit{State: journal.CircuitBackingOff, Until: now.Add(time.Minute)}, onboarding.ResultNotPaused, journal.CircuitBackingOff},
	} {
		for _, row := range breakerActions {
			if row.act != c.act {
				continue
			}
			g := breaker.New(Config{}.withDefaults().breaker(Account{}), c.circuit, now)
			next, changes := g.Preview(row.signal, now)
			got := row.result
			if !changes {
				got = whyBreakerStays(next).Result
			}
			if got != c.want || next.State != c.then {
				t.Errorf("%s of %s/%s: %s, then %s/%s; want %s, then %s", c.act, c.circuit.State, c.circuit.Reason, got, next.State, next.Reason, c.want, c.then)
			}
			if g.Snapshot().Shared.State != c.circuit.State {
				t.Errorf("%s of %s/%s: looking changed it", c.act, c.circuit.State, c.circuit.Reason)
			}
		}
	}
}
