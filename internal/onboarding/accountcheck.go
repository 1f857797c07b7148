package onboarding

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// A checkRow says what a check that a person asked for came to.
type checkRow struct {
	signal signal
	result Result
}

var checkRows = []checkRow{
	{sigTokenGood, ResultTokenWorks},
	{sigUnauthorized, ResultAccountTokenRefused},
	{sigTokenOdd, ResultCheckDenied},
	{sigTokenAddress, ResultNotTheAPI},
	{sigTokenPartner, ResultPartnerRefused},
	{sigLimited, ResultAccountThrottled},
	{sigTokenBad, ResultNoAnswer},
	{sigNone, ResultNoPermitLeft},
}

func checkResult(s signal) Result {
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
	acc.gate.mu.Lock()
	acc.gate.renewed = false
	acc.gate.mu.Unlock()
	p.later(func() {
		defer p.signal()
		defer acc.checking.Store(false)
		verdict := p.checkOwn(s, acc)
		if s.draining() && verdict == sigNone {
			return // it was not made; the next worker makes it
		}
		now := time.Now()
		acc.gate.mu.Lock()
		g, checkAt := acc.gate.shown(), acc.gate.checkAt
		acc.gate.mu.Unlock()
		result := checkResult(verdict)
		words := resultOf(result).words + " Account " + acc.Name + " is " + DescribeGate(acc.Name, g, checkAt, now).Words + "."
		end := endOfIntent(i.Intent, result, words)
		if err := p.journal.EndIntent(s.work, end); err != nil {
			p.intentFailed(i, err)
			return
		}
		p.intentEnded(i, end)
	})
	return false
}
