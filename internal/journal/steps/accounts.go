package steps

import (
	"context"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

const (
	accountByName Query = "SELECT id, partner_id FROM account WHERE name = $1"
	accountInsert Query = "INSERT INTO account (name, partner_id, created, gate_since) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING"
	accountGates  Query = "SELECT id, name, partner_id, gate, gate_reason, gate_until, gate_count, gate_since FROM account ORDER BY name"
)

// EnsureAccount inserts an account, or checks that its partner id is the same.
func (j *Journal) EnsureAccount(ctx context.Context, name, partnerID string) error {
	if name == "" || partnerID == "" {
		return fmt.Errorf("journal: an account needs a name and a partner id")
	}
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error { return u.ensureAccount(name, partnerID) }})
}

func (u *Unit) ensureAccount(name, partnerID string) error {
	a, err := first[rows.Account](u, accountByName, name)
	if err != nil {
		return err
	}
	if a == nil {
		// Another process may insert it at the same moment.
		if _, err := u.exec(accountInsert, name, partnerID, u.now); err != nil {
			return err
		}
		if a, err = first[rows.Account](u, accountByName, name); err != nil {
			return err
		}
		if a == nil {
			return u.fail(fmt.Errorf("journal: account %q was not found after it was inserted", name))
		}
	}
	u.tx.KeepAccount(a.ID, name)
	if a.PartnerID != partnerID {
		return fmt.Errorf("%w: account %q", journal.ErrPartnerDiffers, name)
	}
	return nil
}

// accountID finds an account by its name.
func (u *Unit) accountID(name string) (int64, error) {
	if id, ok := u.tx.AccountID(name); ok {
		return id, nil
	}
	a, err := first[rows.Account](u, accountByName, name)
	if err != nil {
		return 0, err
	}
	if a == nil {
		return 0, fmt.Errorf("%w: account %q", journal.ErrNotFound, name)
	}
	u.tx.KeepAccount(a.ID, name)
	return a.ID, nil
}

// account loads the row of an account whose id is cached.
func (l *Loader) account(name string) {
	if id, ok := l.u.tx.AccountID(name); ok {
		l.accounts = append(l.accounts, id)
	}
}

// account returns the row of an account.
func (u *Unit) account(id int64) (*rows.Account, error) {
	a, err := u.accounts.get(u, id)
	if err == nil && a == nil {
		err = fmt.Errorf("%w: account %d", journal.ErrNotFound, id)
	}
	return a, err
}

// Accounts lists all accounts by name.
func (j *Journal) Accounts(ctx context.Context) ([]journal.Account, error) {
	return list(ctx, j, accountGates, nil, func(a *rows.Account) journal.Account {
		g := journal.Gate{State: stored.Gate(a.Gate), Reason: a.GateReason, Count: int(a.GateCount)}
		g.Until, g.Since = j.db.GateTimes(a)
		return journal.Account{Name: a.Name, PartnerID: a.PartnerID, Gate: g}
	})
}

// SetGate replaces an account's gate.
func (j *Journal) SetGate(ctx context.Context, account string, g journal.Gate, was *journal.Gate) error {
	return j.onAccount(ctx, account, func(u *Unit, a *rows.Account) error {
		if was != nil && !sameGate(a, *was) {
			return journal.ErrStale
		}
		return u.setGate(a, g)
	})
}

// ReserveTrial postpones the end of a gate, so that only the caller makes the trial call.
func (j *Journal) ReserveTrial(ctx context.Context, account string, was journal.Gate, until time.Time) error {
	return j.onAccount(ctx, account, func(u *Unit, a *rows.Account) error {
		if !sameGate(a, was) || a.GateUntil > u.now && !u.same(was.Until, a.GateUntil) {
			return journal.ErrStale
		}
		a.GateUntil = u.clock.Stamp(until)
		// The caller may have read the gate before it was set once more, as it was.
		if !u.same(was.Since, a.GateSince) {
			was.Since = u.instantOrZero(a.GateSince)
		}
		u.tx.KeepGate(a, journal.Gate{Until: until, Since: was.Since})
		u.signals.Work = true
		return nil
	})
}

// onAccount runs a step that changes the row of an account.
func (j *Journal) onAccount(ctx context.Context, name string, do func(*Unit, *rows.Account) error) error {
	return j.db.Write(ctx, &Request{
		Load: func(l *Loader) { l.account(name) },
		Do: func(u *Unit) error {
			id, err := u.accountID(name)
			if err != nil {
				return err
			}
			a, err := u.account(id)
			if err != nil {
				return err
			}
			return do(u, a)
		},
	})
}

// sameGate reports whether an account's gate has the state and the reason of g.
func sameGate(a *rows.Account, g journal.Gate) bool {
	return a.Gate == stored.GateNumber(g.State) && a.GateReason == g.Reason
}

// same reports whether an instant of a gate is the one in the database. It may have
// been translated from one clock to another since.
func (u *Unit) same(at time.Time, stamp int64) bool {
	off := u.clock.Stamp(at) - stamp
	return -stored.SameEnd < off && off < stored.SameEnd
}

// instantOrZero is the instant of a time of the database, the zero time for 0.
func (u *Unit) instantOrZero(stamp int64) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return u.clock.Instant(stamp)
}

// setGate replaces an account's gate, and adds up for how long it was not open.
func (u *Unit) setGate(a *rows.Account, g journal.Gate) error {
	state := stored.GateNumber(g.State)
	if state == 0 {
		return fmt.Errorf("journal: no gate is %q", g.State)
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
