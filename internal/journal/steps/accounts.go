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
	accountName     Query = "SELECT name FROM account WHERE id = $1"
	accountByName   Query = "SELECT id, partner_id FROM account WHERE name = $1"
	accountInsert   Query = "INSERT INTO account (name, partner_id, created, circuit_since) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING"
	accountCircuits Query = "SELECT id, name, partner_id, circuit, circuit_reason, circuit_until, circuit_count, circuit_since FROM account ORDER BY name"
)

// EnsureAccount inserts an account, or checks that its partner id is the same.
func (j *Journal) EnsureAccount(ctx context.Context, name, partnerID string) error {
	if name == "" || partnerID == "" {
		return fmt.Errorf("journal: an account needs a name and a partner id")
	}
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error { return u.ensureAccount(name, partnerID) }})
}

func (u *Unit) ensureAccount(name, partnerID string) error {
	a := first[rows.Account](u, accountByName, name)
	if a == nil {
		// Another process may insert it at the same moment.
		u.exec(accountInsert, name, partnerID, u.now)
		a = first[rows.Account](u, accountByName, name)
		if a == nil {
			u.abort(fmt.Errorf("journal: account %q was not found after it was inserted", name))
		}
	}
	u.tx.KeepAccount(a.ID, name)
	if a.PartnerID != partnerID {
		return fmt.Errorf("%w: account %q", journal.ErrPartnerDiffers, name)
	}
	return nil
}

type nameRow struct {
	Name string `db:"name"`
}

// accountName returns the name of an account. This process may have met the account by
// an id only.
func (u *Unit) accountName(id int64) string {
	if name := u.tx.AccountName(id); name != "" {
		return name
	}
	r := first[nameRow](u, accountName, id)
	if r == nil {
		u.abort(fmt.Errorf("journal: account %d does not exist", id))
	}
	u.tx.KeepAccount(id, r.Name)
	return r.Name
}

// accountID finds an account by its name.
func (u *Unit) accountID(name string) (int64, error) {
	if id, ok := u.tx.AccountID(name); ok {
		return id, nil
	}
	a := first[rows.Account](u, accountByName, name)
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
	a := u.accounts.get(u, id)
	if a == nil {
		return nil, fmt.Errorf("%w: account %d", journal.ErrNotFound, id)
	}
	return a, nil
}

// Accounts lists all accounts by name.
func (j *Journal) Accounts(ctx context.Context) ([]journal.Account, error) {
	return list(ctx, j, accountCircuits, nil, func(a *rows.Account) journal.Account {
		g := journal.Circuit{State: stored.Circuit(a.Circuit), Reason: a.CircuitReason, Count: int(a.CircuitCount)}
		g.Until, g.Since = j.db.CircuitTimes(a)
		return journal.Account{Name: a.Name, PartnerID: a.PartnerID, Circuit: g}
	})
}

// SetCircuit replaces an account's circuit breaker.
func (j *Journal) SetCircuit(ctx context.Context, account string, g journal.Circuit, was *journal.Circuit) error {
	return j.onAccount(ctx, account, func(u *Unit, a *rows.Account) error {
		if was != nil && !sameCircuit(a, *was) {
			return journal.ErrStale
		}
		return u.setCircuit(a, g)
	})
}

// ReserveTrial postpones the end of a circuit breaker, so that only the caller makes the trial call.
func (j *Journal) ReserveTrial(ctx context.Context, account string, was journal.Circuit, until time.Time) error {
	return j.onAccount(ctx, account, func(u *Unit, a *rows.Account) error {
		if !sameCircuit(a, was) || a.CircuitUntil > u.now && !u.same(was.Until, a.CircuitUntil) {
			return journal.ErrStale
		}
		a.CircuitUntil = u.clock.Stamp(until)
		// The caller may have read the circuit breaker before it was set once more, as it was.
		if !u.same(was.Since, a.CircuitSince) {
			was.Since = u.instantOrZero(a.CircuitSince)
		}
		u.tx.KeepCircuit(a, journal.Circuit{Until: until, Since: was.Since})
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

// sameCircuit reports whether an account's circuit breaker has the state and the reason of g.
func sameCircuit(a *rows.Account, g journal.Circuit) bool {
	return a.Circuit == stored.CircuitNumber(g.State) && a.CircuitReason == g.Reason
}

// same reports whether an instant of a circuit breaker is the one in the database. It may have
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

// setCircuit replaces an account's circuit breaker, and adds up for how long it was open.
func (u *Unit) setCircuit(a *rows.Account, g journal.Circuit) error {
	state := stored.CircuitNumber(g.State)
	if state == 0 {
		return fmt.Errorf("journal: no circuit breaker is %q", g.State)
	}
	if a.OpenSince != 0 {
		a.OpenTime += max(0, u.now-a.OpenSince)
	}
	a.OpenSince = 0
	if g.State != journal.CircuitActive {
		a.OpenSince = u.now
	}
	a.Circuit, a.CircuitReason, a.CircuitUntil, a.CircuitCount, a.CircuitSince = state, g.Reason, u.clock.Stamp(g.Until), int64(g.Count), u.clock.Stamp(g.Since)
	u.tx.KeepCircuit(a, g)
	u.signals.Work = true
	return nil
}
