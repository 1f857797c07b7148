package engine

import (
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// A BreakerStatus is the state of an account, as this process knows it.
type BreakerStatus struct {
	onboarding.AccountStatus
	Circuit journal.Circuit // paused also if only this worker's own check pauses it
}

// Status returns the state of every account, in the order of the configuration. unknown
// is the instant before which it is not known what was sent, zero if all is known.
func (e *Engine) Status(unknown, now time.Time) []BreakerStatus {
	list := make([]BreakerStatus, 0, len(e.order))
	for _, acc := range e.order {
		s := BreakerStatus{AccountStatus: onboarding.AccountStatus{Account: acc.Name, Busy: acc.busy.Load()}}
		g := acc.breaker.Snapshot()
		s.Circuit, s.CheckAt, s.Fault, s.Blocked, s.BlockedSince = g.Circuit, g.CheckAt, g.Fault, g.Blocked, g.BlockedSince
		if !unknown.IsZero() {
			window := max(acc.ledger.Window, e.cfg.EgressWindow)
			if until := unknown.Add(e.cfg.Slack + window); until.After(now) {
				s.HoldUntil = reported(until)
			}
		}
		if next := acc.permit.Load(); next != nil && next.at.After(now) {
			s.PermitAt, s.RateLimit = reported(next.at), next.ledger
		}
		list = append(list, s)
	}
	return list
}

// reported formats an instant for a status.
func reported(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
