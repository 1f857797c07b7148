package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

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
	err := j.read(ctx, `SELECT name, partner_id, gate, gate_reason, coalesce(gate_until, 0), gate_count, coalesce(gate_since, 0), id FROM account ORDER BY name`, func(r row) error {
		a := journal.Account{Name: r.text(0), PartnerID: r.text(1), Gate: journal.Gate{State: stored.Gate(r.int(2)), Reason: r.text(3), Count: int(r.int(5))}}
		a.Gate.Until, a.Gate.Since = j.gates.instants(r.int(7), r.int(4), r.int(6), j.clock)
		as = append(as, a)
		return nil
	})
	return as, err
}

// gateTimes are the times of the accounts' gates as they were told to the caller,
// or by it: a gate that nobody has changed is told again as it was. Translated
// anew it would seem to be another one whenever the clock is known better.
type gateTimes struct {
	mu sync.Mutex
	of map[int64]gateTime
}

type gateTime struct {
	storedUntil, storedSince int64
	until, since             time.Time
}

func (g *gateTimes) keep(account int64, t gateTime) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = make(map[int64]gateTime)
	}
	g.of[account] = t
}

func (g *gateTimes) instants(account, until, since int64, c *clock) (time.Time, time.Time) {
	g.mu.Lock()
	t := g.of[account]
	g.mu.Unlock()
	if t.storedUntil == until && t.storedSince == since {
		return t.until, t.since
	}
	t = gateTime{storedUntil: until, storedSince: since}
	if until != 0 {
		t.until = c.instant(until)
	}
	if since != 0 {
		t.since = c.instant(since)
	}
	g.keep(account, t)
	return t.until, t.since
}

// SetGate replaces an account's gate. All replicas are told.
func (j *Journal) SetGate(ctx context.Context, account string, g journal.Gate, was *journal.Gate) error {
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		id, err := t.account(account)
		if err != nil {
			return err
		}
		if was != nil {
			r, err := t.one("SELECT gate, gate_reason FROM account WHERE id = $1 FOR UPDATE", id)
			if err != nil {
				return err
			}
			if r.int(0) != stored.GateNumber(was.State) || r.text(1) != was.Reason {
				return journal.ErrStale
			}
		}
		return t.setGate(id, g)
	})
}

// TakeTrial puts the end of a gate off. All replicas are told.
func (j *Journal) TakeTrial(ctx context.Context, account string, was journal.Gate, until time.Time) error {
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		id, err := t.account(account)
		if err != nil {
			return err
		}
		r, err := t.one(`UPDATE account SET gate_until = $1 WHERE id = $2 AND gate = $3 AND gate_reason = $4
			AND (coalesce(gate_until, 0) <= $5 OR abs(gate_until - $6) < $7) RETURNING coalesce(gate_since, 0)`,
			t.j.clock.stamp(until), id, stored.GateNumber(was.State), was.Reason, t.now, t.j.clock.stamp(was.Until), stored.SameEnd)
		if err == nil && r == nil {
			err = journal.ErrStale
		}
		if err != nil {
			return err
		}
		after := gateTime{storedUntil: t.j.clock.stamp(until), storedSince: r.int(0), until: until, since: was.Since}
		// The caller may have read the gate before it was set once more, as it was.
		if off := t.j.clock.stamp(was.Since) - after.storedSince; max(off, -off) >= stored.SameEnd {
			after.since = t.j.clock.instant(after.storedSince)
		}
		t.woken = true
		t.follow(func() { t.j.gates.keep(id, after) })
		return nil
	})
}

func (t *tx) setGate(account int64, g journal.Gate) error {
	state := stored.GateNumber(g.State)
	if state == 0 {
		return fmt.Errorf("journal: no gate is %q", g.State)
	}
	t.woken = true
	at := gateTime{storedUntil: t.j.clock.stamp(g.Until), storedSince: t.j.clock.stamp(g.Since), until: g.Until, since: g.Since}
	t.follow(func() { t.j.gates.keep(account, at) })
	_, err := t.exec("UPDATE account SET gate = $1, gate_reason = $2, gate_until = $3, gate_count = $4, gate_since = $5, closed = "+closedTotal("$6")+
		", closed_since = CASE $1::bigint WHEN 1 THEN NULL ELSE $6::bigint END WHERE id = $7",
		state, g.Reason, orNull(at.storedUntil), int64(g.Count), orNull(at.storedSince), t.now, account)
	return err
}

// closedTotal is, of a row of account, for how long its gate was not open until
// now. Only differences of it are used: what an operation's run began with, and
// what there is now.
func closedTotal(now string) string {
	return "(closed + CASE WHEN closed_since IS NULL THEN 0 ELSE greatest(0, " + now + "::bigint - closed_since) END)"
}
