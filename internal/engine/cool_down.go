package engine

import (
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// addressRule is the cool-down of an invitation's address over all shops of the
// account; nil if there is none.
func (e *Engine) addressRule(t *task) *journal.AddressRule {
	if t.Kind != journal.Invite || e.cfg.AddressCoolDown == 0 {
		return nil
	}
	rule := &journal.AddressRule{MAC: t.SubjectMAC, MACs: t.macs, CoolDown: e.cfg.AddressCoolDown}
	for _, c := range onboarding.WithoutEmail() {
		rule.Without = append(rule.Without, c.String())
	}
	return rule
}

// delayForAddress delays an invitation whose address got an e-mail. It publishes
// nothing: the shop was not invited, and nothing has failed. The shop's activations go
// first.
func (e *Engine) delayForAddress(s phases, t *task, cool *journal.AddressCoolDownError) error {
	now := time.Now()
	due := cool.At.Add(e.cfg.AddressCoolDown)
	if cool.Open {
		// That attempt may end without an e-mail.
		due = minTime(due, now.Add(e.cfg.RequestDeadline))
	}
	// It ends as expired when it has waited for the maximum age.
	due = minTime(due, t.Planned.Add(e.cfg.MaximumAge+t.CircuitOpen+time.Second))
	e.metrics.cooled.WithLabelValues(t.acc.Name).Inc()
	e.log.Info("invitation delayed: the address got an e-mail within the cool-down", t.attrs("due", maxTime(due, now))...)
	return e.apply(s, t, journal.Transition{
		From: journal.Claimed, To: journal.Planned, Behind: true, Due: maxTime(due, now.Add(time.Second)), Reason: string(onboarding.ReasonAddressCoolDown),
	})
}
