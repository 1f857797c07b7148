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
		then        journal.GateState
	}{
		"OpenAndGood":       {answer{}, answer{}, "", onboarding.ActionCheck, onboarding.ResultTokenWorks, journal.GateOpen},
		"OpenAndRefused":    {answer{}, answer{status: 401}, "", onboarding.ActionCheck, onboarding.ResultAccountTokenRefused, journal.GatePaused},
		"OpenAndStrange":    {answer{}, odd, "", onboarding.ActionCheck, onboarding.ResultNotTheAPI, journal.GateOpen},
		"OpenAndForeign":    {answer{}, answer{status: 422, body: partnerRefusal}, "", onboarding.ActionCheck, onboarding.ResultPartnerRefused, journal.GateOpen},
		"OpenAndDenied":     {answer{}, answer{status: 403}, "", onboarding.ActionCheck, onboarding.ResultCheckDenied, journal.GateOpen},
		"OpenAndAway":       {answer{}, answer{fail: invoicebox.ReasonConnect, unsent: true}, "", onboarding.ActionCheck, onboarding.ResultNoAnswer, journal.GateOpen},
		"OpenAndThrottled":  {answer{}, answer{status: 429}, "", onboarding.ActionCheck, onboarding.ResultAccountThrottled, journal.GateLimited},
		"TokenStillBad":     {answer{status: 401}, answer{status: 401}, onboarding.ReasonToken, onboarding.ActionCheck, onboarding.ResultAccountTokenRefused, journal.GatePaused},
		"TokenGood":         {answer{status: 401}, answer{}, onboarding.ReasonToken, onboarding.ActionCheck, onboarding.ResultTokenWorks, journal.GateOpen},
		"ResumeForToken":    {answer{status: 401}, answer{}, onboarding.ReasonToken, onboarding.ActionResume, onboarding.ResultTokenWorks, journal.GateOpen},
		"ResumeStillBad":    {answer{status: 401}, answer{status: 401}, onboarding.ReasonToken, onboarding.ActionResume, onboarding.ResultAccountTokenRefused, journal.GatePaused},
		"ResumeForAddress":  {odd, answer{}, onboarding.ReasonAddress, onboarding.ActionResume, onboarding.ResultTokenWorks, journal.GateResting},
		"ResumeWrongStill":  {odd, odd, onboarding.ReasonAddress, onboarding.ActionResume, onboarding.ResultNotTheAPI, journal.GatePaused},
		"ResumeAddressAway": {odd, answer{fail: invoicebox.ReasonConnect, unsent: true}, onboarding.ReasonAddress, onboarding.ActionResume, onboarding.ResultNoAnswer, journal.GatePaused},
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
				gate := func() journal.Gate {
					return b.j.gate()
				}
				if c.pause != "" {
					for i := range breaker.FaultsToPause {
						b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i))
					}
				}
				b.start()
				if c.pause != "" {
					b.until(time.Minute, "paused", func() bool { return gate().State == journal.GatePaused && gate().Reason == string(c.pause) })
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
				b.until(time.Second, "the gate is written", func() bool { return gate().State == c.then || c.then == journal.GateOpen && gate().State == "" })
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
		act  onboarding.Action
		gate journal.Gate
		want onboarding.Result
		then journal.GateState
	}{
		{onboarding.ActionPause, journal.Gate{State: journal.GateOpen}, onboarding.ResultPaused, journal.GatePaused},
		{onboarding.ActionPause, journal.Gate{State: journal.GatePaused, Reason: string(onboarding.ReasonOperator)}, onboarding.ResultPaused, journal.GatePaused},
		{onboarding.ActionPause, journal.Gate{State: journal.GatePaused, Reason: string(onboarding.ReasonToken)}, onboarding.ResultPaused, journal.GatePaused},
		{onboarding.ActionResume, journal.Gate{State: journal.GatePaused, Reason: string(onboarding.ReasonOperator)}, onboarding.ResultResumed, journal.GateResting},
		{onboarding.ActionResume, journal.Gate{State: journal.GatePaused, Reason: string(onboarding.ReasonRights)}, onboarding.ResultResumed, journal.GateResting},
		{onboarding.ActionResume, journal.Gate{State: journal.GatePaused, Reason: "refusals"}, onboarding.ResultResumed, journal.GateResting},
		// Asked for before the breaker was paused: TestAccountCheck has the others.
		{onboarding.ActionResume, journal.Gate{State: journal.GatePaused, Reason: string(onboarding.ReasonToken)}, onboarding.ResultTokenOpens, journal.GatePaused},
		{onboarding.ActionResume, journal.Gate{State: journal.GatePaused, Reason: string(onboarding.ReasonAddress)}, onboarding.ResultTokenOpens, journal.GatePaused},
		{onboarding.ActionResume, journal.Gate{State: journal.GateOpen}, onboarding.ResultNotPaused, journal.GateOpen},
		{onboarding.ActionResume, journal.Gate{State: journal.GateLimited, Until: now.Add(time.Minute)}, onboarding.ResultNotPaused, journal.GateLimited},
		{onboarding.ActionResume, journal.Gate{State: journal.GateResting, Until: now.Add(time.Minute)}, onboarding.ResultNotPaused, journal.GateResting},
	} {
		for _, row := range breakerActions {
			if row.act != c.act {
				continue
			}
			g := breaker.New(Config{}.withDefaults().breaker(Account{}), c.gate, now)
			next, changes := g.Preview(row.signal, now)
			got := row.result
			if !changes {
				got = whyBreakerStays(next).Result
			}
			if got != c.want || next.State != c.then {
				t.Errorf("%s of %s/%s: %s, then %s/%s; want %s, then %s", c.act, c.gate.State, c.gate.Reason, got, next.State, next.Reason, c.want, c.then)
			}
			if g.Snapshot().Shared.State != c.gate.State {
				t.Errorf("%s of %s/%s: looking changed it", c.act, c.gate.State, c.gate.Reason)
			}
		}
	}
}
