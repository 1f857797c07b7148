package onboarding

import (
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
)

// withoutEmail are the outcomes of invitations after which Invoicebox certainly
// sent no e-mail.
var withoutEmail = []invoicebox.Class{
	invoicebox.NotExecuted, invoicebox.Limited, invoicebox.Unauthorized, invoicebox.OurFault, invoicebox.Refused,
}

// addressRule is the cool-down of an invitation's address over all shops of the
// account; nil where there is none.
func (p *Pool) addressRule(t *task) *journal.AddressRule {
	if t.Kind != journal.Invite || p.cfg.AddressCoolDown == 0 {
		return nil
	}
	rule := &journal.AddressRule{MAC: t.SubjectMAC, MACs: t.macs, CoolDown: p.cfg.AddressCoolDown}
	for _, c := range withoutEmail {
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
		due = earliest(due, now.Add(p.cfg.RequestDeadline))
	}
	// It ends as expired when it has waited for the maximum age.
	due = earliest(due, t.Planned.Add(p.cfg.MaximumAge+t.GateClosed+time.Second))
	p.metrics.cooled.WithLabelValues(t.acc.Name).Inc()
	p.log.Info("invitation delayed: the address got an e-mail within the cool-down", t.attrs("due", later(due, now))...)
	_ = p.apply(s, t, journal.Transition{
		From: journal.Claimed, To: journal.Planned, Behind: true, Due: later(due, now.Add(time.Second)), Reason: string(ReasonAddressCoolDown),
	})
}

// waitsForAddress tells whether an operation only waits for its address's cool-down.
func waitsForAddress(op journal.OperationView) bool {
	return op.Kind == journal.Invite && op.State == journal.Planned && Reason(op.Reason) == ReasonAddressCoolDown
}
