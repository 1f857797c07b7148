package engine

import (
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// A checkRow is the result of a check that an operator requested.
type checkRow struct {
	signal breaker.Signal
	result onboarding.Result
}

var checkRows = []checkRow{
	{breaker.SignalTokenValid, onboarding.ResultTokenWorks},
	{breaker.SignalUnauthorized, onboarding.ResultAccountTokenRefused},
	{breaker.SignalTokenInconclusive, onboarding.ResultCheckDenied},
	{breaker.SignalTokenAddress, onboarding.ResultNotTheAPI},
	{breaker.SignalTokenPartner, onboarding.ResultPartnerRefused},
	{breaker.SignalLimited, onboarding.ResultAccountThrottled},
	{breaker.SignalTokenNoAnswer, onboarding.ResultNoAnswer},
	{breaker.SignalNone, onboarding.ResultNoPermitLeft},
}

func checkResult(s breaker.Signal) onboarding.Result {
	for _, row := range checkRows {
		if row.signal == s {
			return row.result
		}
	}
	return onboarding.ResultNoAnswer
}

// needsCheck reports whether a check of the token executes an operator's action on an
// account. It executes a resume, too, if only a valid token resumes the account.
// Blocked: only this process's own check pauses the account.
func needsCheck(c onboarding.Action, g journal.Circuit, blocked bool) bool {
	if c == onboarding.ActionCheck || c == onboarding.ActionResume && blocked {
		return true
	}
	paused := g.State == journal.CircuitPaused && (g.Reason == string(onboarding.ReasonToken) || g.Reason == string(onboarding.ReasonAddress))
	return c == onboarding.ActionResume && paused
}

// checkAccount checks the account's token now and ends the intent with the result. A
// check that is under way is awaited first.
func (e *Engine) checkAccount(s phases, acc *account, i journal.PendingIntent) (ended bool) {
	if !acc.checkingToken.CompareAndSwap(false, true) {
		return false
	}
	acc.breaker.BeginCheck()
	e.background(func() {
		defer e.signal()
		defer acc.checkingToken.Store(false)
		verdict := e.checkOwnToken(s, acc)
		if s.draining() && verdict == breaker.SignalNone {
			return // it was not made; the next worker makes it
		}
		now := time.Now()
		g := acc.breaker.Snapshot()
		result := checkResult(verdict)
		words := onboarding.ResultOf(result).Text + " Account " + acc.Name + " is " + onboarding.DescribeBreaker(acc.Name, g.Circuit, g.CheckAt, now).Text + "."
		end := onboarding.EndAction(i.Intent, result, words, now)
		if err := e.journal.EndIntent(s.writes, end); err != nil {
			e.actionFailed(i, err)
			return
		}
		e.actionEnded(i, end)
	})
	return false
}
