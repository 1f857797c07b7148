package onboarding

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// A GateStatus is how an account stands, as this process knows it.
type GateStatus struct {
	AccountStatus
	Gate journal.Gate // paused where only this worker's own check says so
}

// Status says how every account stands, in the order of the configuration.
// unknown is the instant before which it is not known what was sent, zero where
// all is known.
func (p *Pool) Status(unknown, now time.Time) []GateStatus {
	list := make([]GateStatus, 0, len(p.order))
	for _, acc := range p.order {
		s := GateStatus{AccountStatus: AccountStatus{Account: acc.Name, Busy: acc.busy.Load()}}
		acc.gate.mu.Lock()
		s.Gate, s.CheckAt = acc.gate.shown(), stored(acc.gate.checkAt)
		if s.Gate.State == journal.GateResting && s.Gate.Reason == string(ReasonServerFaults) {
			s.Fault = acc.gate.fault
		}
		if s.Blocked = acc.gate.blocked; s.Blocked != "" {
			s.BlockedSince = stored(acc.gate.blockedSince)
		}
		acc.gate.mu.Unlock()
		if !unknown.IsZero() {
			window := max(acc.ledger.Window, p.cfg.EgressWindow)
			if until := unknown.Add(p.cfg.Slack + window); until.After(now) {
				s.HoldUntil = stored(until)
			}
		}
		if next := acc.permit.Load(); next != nil && next.at.After(now) {
			s.PermitAt, s.Ledger = stored(next.at), next.ledger
		}
		list = append(list, s)
	}
	return list
}
