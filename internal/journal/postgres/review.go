package postgres

import (
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const (
	reviewBegin = `INSERT INTO review (shop, account, version, operation, state, routine, due_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (shop) DO UPDATE SET version = excluded.version, operation = excluded.operation, state = excluded.state, routine = excluded.routine,
			due_at = excluded.due_at, claim = review.claim + 1, refused = NULL, tries = 0, told = CASE review.version WHEN excluded.version THEN review.told ELSE 0 END`
	// A late receipt that waits to be compared, and whoever does that, stay.
	moveEnded = "UPDATE operation SET state = $1, reason = $2, changed = $3 WHERE id = $4 AND state = $5 AND ($6 = '' OR reason = $6)"
)

// seenToWork ends what an activation's receipts were kept for.
func (t *tx) seenToWork(operation int64) error {
	_, err := t.exec("UPDATE operation SET verified = $1 WHERE id = $2 AND verified IS NULL", t.now, operation)
	return err
}

func (t *tx) moveEnded(operation int64, m *journal.ActivationMove) error {
	if m == nil {
		return nil
	}
	if m.From.Open() || m.To.Open() {
		return fmt.Errorf("journal: a review moves only what has ended, not from %v to %v", m.From, m.To)
	}
	_, err := t.exec(moveEnded, int64(m.To), m.Reason, t.now, operation, int64(m.From), m.Was)
	return err
}

// beginReview follows a shop's new current credentials.
func (t *tx) beginReview(f facts, operation, version int64, tr journal.Transition) error {
	before, err := t.one("SELECT operation FROM review WHERE shop = $1", f.shop)
	if err != nil {
		return err
	}
	if before != nil && before.int(0) != operation {
		if err := t.moveEnded(before.int(0), tr.Active.Replaced); err != nil {
			return err
		}
		if err := t.seenToWork(before.int(0)); err != nil {
			return err
		}
	}
	due := t.j.clock.stamp(tr.Active.Review)
	if due == 0 {
		due = t.now
	}
	asks := []ask{}
	state := journal.CredentialPending
	if tr.Verified {
		state = journal.CredentialVerified
		asks = append(asks, ask{"UPDATE account SET refused_in_row = 0 WHERE id = $1 AND refused_in_row > 0", []any{f.account}})
	}
	_, err = t.together(append(asks, ask{reviewBegin, []any{f.shop, f.account, version, operation, int64(state), stored.Flag(tr.Verified), due}})...)
	return err
}
