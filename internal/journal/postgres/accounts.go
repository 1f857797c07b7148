package postgres

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// EnsureAccount makes an account known, or makes sure that it is the same.
func (j *Journal) EnsureAccount(ctx context.Context, name, partnerID string) error {
	if name == "" || partnerID == "" {
		return fmt.Errorf("journal: an account needs a name and a partner id")
	}
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		as, err := t.together(
			ask{"INSERT INTO account (name, partner_id, created, gate_since) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING", []any{name, partnerID, t.now}},
			ask{"SELECT partner_id FROM account WHERE name = $1", []any{name}})
		if err != nil {
			return err
		}
		if rows := as[1].rows; len(rows) == 0 || rows[0].text(0) != partnerID {
			return fmt.Errorf("%w: account %q", journal.ErrPartnerDiffers, name)
		}
		return nil
	})
}

// Accounts lists all accounts by name.
func (j *Journal) Accounts(ctx context.Context) ([]journal.Account, error) {
	var as []journal.Account
	err := j.read(ctx, `SELECT name, partner_id, gate, gate_reason, coalesce(gate_until, 0), gate_count, coalesce(gate_since, 0) FROM account ORDER BY name`, func(r row) error {
		a := journal.Account{Name: r.text(0), PartnerID: r.text(1), Gate: journal.Gate{State: stored.Gate(r.int(2)), Reason: r.text(3), Count: int(r.int(5))}}
		if r.int(4) != 0 {
			a.Gate.Until = j.clock.instant(r.int(4))
		}
		if r.int(6) != 0 {
			a.Gate.Since = j.clock.instant(r.int(6))
		}
		as = append(as, a)
		return nil
	})
	return as, err
}

// SetGate replaces an account's gate. All replicas are told.
func (j *Journal) SetGate(ctx context.Context, account string, g journal.Gate, audit *journal.AuditEntry) error {
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		id, err := t.account(account)
		if err != nil {
			return err
		}
		if err := t.setGate(id, g); err != nil {
			return err
		}
		if audit != nil {
			return t.audit(*audit)
		}
		return nil
	})
}

func (t *tx) setGate(account int64, g journal.Gate) error {
	state := stored.GateNumber(g.State)
	if state == 0 {
		return fmt.Errorf("journal: no gate is %q", g.State)
	}
	t.woken = true
	_, err := t.exec("UPDATE account SET gate = $1, gate_reason = $2, gate_until = $3, gate_count = $4, gate_since = $5, closed = "+closedTotal("$6")+
		", closed_since = CASE $1::bigint WHEN 1 THEN NULL ELSE $6::bigint END WHERE id = $7",
		state, g.Reason, orNull(t.j.clock.stamp(g.Until)), int64(g.Count), orNull(t.j.clock.stamp(g.Since)), t.now, account)
	return err
}

// closedTotal is, of a row of account, for how long its gate was not open until
// now. Only differences of it are used: what an operation's run began with, and
// what there is now.
func closedTotal(now string) string {
	return "(closed + CASE WHEN closed_since IS NULL THEN 0 ELSE greatest(0, " + now + "::bigint - closed_since) END)"
}
