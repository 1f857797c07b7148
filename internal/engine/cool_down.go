package engine

import (
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// addressRule is the cool-down of an invitation's address over all shops of the
// account; nil where there is none.
func (p *Pool) addressRule(t *task) *journal.AddressRule {
	if t.Kind != journal.Invite || p.cfg.AddressCoolDown == 0 {
		return nil
	}
	rule := &journal.AddressRule{MAC: t.SubjectMAC, MACs: t.macs, CoolDown: p.cfg.AddressCoolDown}
	for _, c := range onboarding.WithoutEmail() {
		rule.Without = append(rule.Without, c.String())
	}
	return rule
}

// cools puts an invitation off whose address got an e-mail. It publishes nothing:
// the shop was not invited, and nothing has failed. The shop's activations go
// first.
func (p *Pool) cools(s scope, t *task, e *journal.AddressCoolDownError) {
	now := time.Now()
	due := e.At.Add(p.cfg.AddressCoolDown)
	if e.Open {
		// That attempt may end without an e-mail.
		due = minTime(due, now.Add(p.cfg.RequestDeadline))
	}
	// It ends as expired when it has waited for the maximum age.
	due = minTime(due, t.Planned.Add(p.cfg.MaximumAge+t.GateClosed+time.Second))
	p.metrics.cooled.WithLabelValues(t.acc.Name).Inc()
	p.log.Info("invitation delayed: the address got an e-mail within the cool-down", t.attrs("due", maxTime(due, now))...)
	_ = p.apply(s, t, journal.Transition{
		From: journal.Claimed, To: journal.Planned, Behind: true, Due: maxTime(due, now.Add(time.Second)), Reason: string(onboarding.ReasonAddressCoolDown),
	})
}
