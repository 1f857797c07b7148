package sqlite

import (
	"context"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// EnsureAccount makes an account known, or makes sure that it is the same.
func (j *Journal) EnsureAccount(ctx context.Context, name, partnerID string) error {
	if name == "" || partnerID == "" {
		return fmt.Errorf("journal: an account needs a name and a partner id")
	}
	return j.submit(ctx, 0, func(t *tx) error {
		r, err := t.one("SELECT partner_id FROM account WHERE name = ?", name)
		if err != nil {
			return err
		}
		if r != nil {
			if r.text(0) != partnerID {
				return fmt.Errorf("%w: account %q", journal.ErrPartnerDiffers, name)
			}
			return nil
		}
		r, err = t.change("INSERT INTO account (name, partner_id, created, gate_since) VALUES (?, ?, ?, ?) RETURNING id", name, partnerID, t.now, t.now)
		if err != nil {
			return err
		}
		w, id := t.j.writer, r.int(0)
		w.accounts[name], w.names[id] = id, name
		t.undo = append(t.undo, func() {
			delete(w.accounts, name)
			delete(w.names, id)
		})
		return nil
	})
}

// Accounts lists all accounts by name.
func (j *Journal) Accounts(ctx context.Context) ([]journal.Account, error) {
	var as []journal.Account
	err := j.read(ctx, `SELECT name, partner_id, gate, gate_reason, coalesce(gate_until, 0), gate_count, coalesce(gate_since, 0) FROM account ORDER BY name`, nil,
		func(scan scanner) error {
			var a journal.Account
			var state, until, since int64
			if err := scan(&a.Name, &a.PartnerID, &state, &a.Gate.Reason, &until, &a.Gate.Count, &since); err != nil {
				return err
			}
			a.Gate.State = stored.Gate(state)
			if until != 0 {
				a.Gate.Until = j.clock.instant(until)
			}
			if since != 0 {
				a.Gate.Since = j.clock.instant(since)
			}
			as = append(as, a)
			return nil
		})
	return as, err
}

// SetGate replaces an account's gate.
func (j *Journal) SetGate(ctx context.Context, account string, g journal.Gate, was *journal.Gate) error {
	return j.submit(ctx, 0, func(t *tx) error {
		if was != nil {
			r, err := t.one("SELECT gate, gate_reason FROM account WHERE name = ?", account)
			switch {
			case err != nil:
				return err
			case r != nil && (r.int(0) != stored.GateNumber(was.State) || r.text(1) != was.Reason):
				return journal.ErrStale
			}
		}
		return t.setGate(account, g)
	})
}

// TakeTrial puts the end of a gate off.
func (j *Journal) TakeTrial(ctx context.Context, account string, was journal.Gate, until time.Time) error {
	return j.submit(ctx, 0, func(t *tx) error {
		if _, ok := t.j.writer.accounts[account]; !ok {
			return fmt.Errorf("%w: account %q", journal.ErrNotFound, account)
		}
		n, err := t.exec(`UPDATE account SET gate_until = ? WHERE name = ? AND gate = ? AND gate_reason = ?
			AND (coalesce(gate_until, 0) <= ? OR abs(gate_until - ?) < ?)`,
			t.j.clock.stamp(until), account, stored.GateNumber(was.State), was.Reason, t.now, t.j.clock.stamp(was.Until), stored.SameEnd)
		if err == nil && n == 0 {
			err = journal.ErrStale
		}
		t.woken = err == nil
		return err
	})
}

func (t *tx) setGate(account string, g journal.Gate) error {
	state := stored.GateNumber(g.State)
	if state == 0 {
		return fmt.Errorf("journal: no gate is %q", g.State)
	}
	n, err := t.exec("UPDATE account SET gate = ?, gate_reason = ?, gate_until = ?, gate_count = ?, gate_since = ? WHERE name = ?",
		state, g.Reason, orNull(t.j.clock.stamp(g.Until)), g.Count, orNull(t.j.clock.stamp(g.Since)), account)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%w: account %q", journal.ErrNotFound, account)
	}
	t.woken = true
	return t.closeGate(t.j.writer.accounts[account], g.State == journal.GateOpen)
}
