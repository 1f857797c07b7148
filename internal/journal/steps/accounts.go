package steps

import (
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// setGate replaces an account's gate, and counts for how long it is not open.
func (u *Unit) setGate(account int64, g journal.Gate) error {
	state := stored.GateNumber(g.State)
	if state == 0 {
		return fmt.Errorf("journal: no gate is %q", g.State)
	}
	a, err := u.accounts.get(u, account)
	if err != nil {
		return err
	}
	if a == nil {
		return fmt.Errorf("%w: account %d", journal.ErrNotFound, account)
	}
	if a.ClosedSince != 0 {
		a.Closed += max(0, u.now-a.ClosedSince)
	}
	a.ClosedSince = 0
	if g.State != journal.GateOpen {
		a.ClosedSince = u.now
	}
	a.Gate, a.GateReason, a.GateUntil, a.GateCount, a.GateSince = state, g.Reason, u.clock.Stamp(g.Until), int64(g.Count), u.clock.Stamp(g.Since)
	u.tx.KeepGate(a, g)
	u.signals.Work = true
	return nil
}
