package onboarding

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// A checkRow says what a check that a person asked for came to.
type checkRow struct {
	signal Signal
	result Result
}

var checkRows = []checkRow{
	{SignalTokenValid, ResultTokenWorks},
	{SignalUnauthorized, ResultAccountTokenRefused},
	{SignalTokenInconclusive, ResultCheckDenied},
	{SignalTokenAddress, ResultNotTheAPI},
	{SignalTokenPartner, ResultPartnerRefused},
	{SignalLimited, ResultAccountThrottled},
	{SignalTokenNoAnswer, ResultNoAnswer},
	{SignalNone, ResultNoPermitLeft},
}

func checkResult(s Signal) Result {
	for _, row := range checkRows {
		if row.signal == s {
			return row.result
		}
	}
	return ResultNoAnswer
}

// needsCheck reports whether a person's command on an account is done by a check of its
// token: so is a resume where only a good token resumes it. Blocked: this process's
// own check pauses the account, and nothing else.
func needsCheck(c Command, g journal.Gate, blocked bool) bool {
	if c == CommandCheck || c == CommandResume && blocked {
		return true
	}
	paused := g.State == journal.GatePaused && (g.Reason == string(ReasonToken) || g.Reason == string(ReasonAddress))
	return c == CommandResume && paused
}

// checkAccount checks the account's token now and ends the intent by what came of
// it. Until then the intent waits: a check that is under way is awaited first.
func (p *Pool) checkAccount(s scope, acc *account, i journal.PendingIntent) (ended bool) {
	if !acc.checking.CompareAndSwap(false, true) {
		return false
	}
	acc.gate.BeginCheck()
	p.later(func() {
		defer p.signal()
		defer acc.checking.Store(false)
		verdict := p.checkOwn(s, acc)
		if s.draining() && verdict == SignalNone {
			return // it was not made; the next worker makes it
		}
		now := time.Now()
		g := acc.gate.Snapshot()
		result := checkResult(verdict)
		words := ResultOf(result).Words + " Account " + acc.Name + " is " + DescribeGate(acc.Name, g.Gate, g.CheckAt, now).Words + "."
		end := EndIntent(i.Intent, result, words, now)
		if err := p.journal.EndIntent(s.work, end); err != nil {
			p.intentFailed(i, err)
			return
		}
		p.intentEnded(i, end)
	})
	return false
}
