package sqlite

import (
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const (
	reviewBegin = `INSERT INTO review (shop, account, version, operation, state, routine, due_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (shop) DO UPDATE SET version = excluded.version, operation = excluded.operation, state = excluded.state, routine = excluded.routine,
			due_at = excluded.due_at, claim = claim + 1, refused = NULL, tries = 0, told = CASE version WHEN excluded.version THEN told ELSE 0 END`
	// A late receipt that waits to be compared, and whoever does that, stay.
	moveEnded = "UPDATE operation SET state = ?, reason = ?, changed = ? WHERE id = ? AND state = ?"
)

// acceptedAgain ends a row of refused shops.
func (t *tx) acceptedAgain(account int64) error {
	_, err := t.exec("UPDATE account SET refused_in_row = 0 WHERE id = ? AND refused_in_row > 0", account)
	return err
}

func (t *tx) moveEnded(operation int64, m *journal.ActivationMove) error {
	if m == nil {
		return nil
	}
	if m.From.Open() || m.To.Open() {
		return fmt.Errorf("journal: a review moves only what has ended, not from %v to %v", m.From, m.To)
	}
	query, args := moveEnded, []any{int64(m.To), m.Reason, t.now, operation, int64(m.From)}
	if m.Was != "" {
		query, args = moveEnded+" AND reason = ?", append(args, m.Was)
	}
	_, err := t.exec(query, args...)
	return err
}

// beginReview follows a shop's new current credentials.
func (t *tx) beginReview(f facts, operation, version int64, tr journal.Transition) error {
	before, err := t.one("SELECT operation FROM review WHERE shop = ?", f.shop)
	if err != nil {
		return err
	}
	if before != nil && before.int(0) != operation {
		if err := t.moveEnded(before.int(0), tr.Active.Replaced); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE operation SET verified = ? WHERE id = ? AND verified IS NULL", t.now, before.int(0)); err != nil {
			return err
		}
	}
	due := t.j.clock.stamp(tr.Active.Review)
	if due == 0 {
		due = t.now
	}
	state := journal.CredentialPending
	if tr.Verified {
		state = journal.CredentialVerified
		if err := t.acceptedAgain(f.account); err != nil {
			return err
		}
	}
	_, err = t.exec(reviewBegin, f.shop, f.account, version, operation, int64(state), stored.Flag(tr.Verified), due)
	return err
}

// openReviews brings reviews over from processes before: what is open is due,
// and since when credentials are refused is counted from now.
func openReviews(c *conn, now int64) error {
	if _, err := c.exec("UPDATE review SET refused = ? WHERE refused IS NOT NULL", now); err != nil {
		return err
	}
	_, err := c.exec(`UPDATE review SET due_at = ? WHERE shop IN
		(SELECT v.shop FROM account a CROSS JOIN review v INDEXED BY review_due ON v.account = a.id AND v.routine = 0 AND v.due_at > ?)`, now, now)
	return err
}
