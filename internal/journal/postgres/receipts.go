package postgres

import (
	"context"
	"time"

	"invoicebox-worker/internal/journal"
)

// Whoever sent it may live, whatever became of its session: where no end is
// known, its deadline and the slack have to pass.
const lingeringRead = `SELECT coalesce(max(CASE WHEN ended IS NULL THEN deadline ELSE ended END + slack), 0) FROM attempt a
	WHERE a.operation = $1 AND a.answered = 0 AND a.not_sent = 0 AND NOT EXISTS (SELECT 1 FROM receipt r WHERE r.attempt = a.id)`

// lingering is until when a request of the operation that has no answer may be
// on its way; now at the earliest.
func (t *tx) lingering(operation int64) (int64, error) {
	r, err := t.one(lingeringRead, operation)
	if err != nil {
		return 0, err
	}
	return max(t.now, r.int(0)), nil
}

// noLonger lets an operation that waits for the end of another of its requests
// go on when that came.
func (t *tx) noLonger(operation int64) error {
	due, err := t.lingering(operation)
	if err != nil {
		return err
	}
	n, err := t.exec("UPDATE operation SET due_at = $1 WHERE id = $2 AND state = $3 AND stage = $4 AND lease_held = 0 AND due_at > $1",
		due, operation, int64(journal.Received), int64(journal.Settle))
	t.woken = t.woken || n > 0
	return err
}

const (
	receiptsRead = `SELECT r.attempt, r.at, o.state IN (30, 31) AND o.late = 0 AND coalesce(o.verified <= $1, FALSE)
		FROM receipt r JOIN operation o ON o.id = r.operation WHERE r.attempt > $2 ORDER BY r.attempt LIMIT $3`
	receiptErase = "DELETE FROM receipt WHERE attempt = ANY($1)"
)

// EraseReceipts erases what is not needed any more, a few in one transaction.
func (j *Journal) EraseReceipts(ctx context.Context, before time.Time, after journal.AttemptID, limit int) (next journal.AttemptID, erased int, err error) {
	type answer struct {
		next   journal.AttemptID
		erased int
	}
	a, err := askFor(ctx, j, max(limit, 1), needs{}, func(t *tx) (a answer, err error) {
		a.next, a.erased, err = t.eraseReceipts(j.clock.stamp(before), after, max(limit, 1))
		return a, err
	})
	return a.next, a.erased, err
}

func (t *tx) eraseReceipts(before int64, after journal.AttemptID, limit int) (next journal.AttemptID, erased int, err error) {
	var ids []int64
	seen, young := 0, false
	a, err := t.query(receiptsRead, before, int64(after), int64(limit))
	if err != nil {
		return 0, 0, err
	}
	for _, r := range a.rows {
		seen++
		next = journal.AttemptID(r.int(0))
		// What comes after is younger: nothing of it can be verified that long.
		young = young || r.int(1) > before
		if r.int(2) != 0 {
			ids = append(ids, r.int(0))
		}
	}
	if len(ids) > 0 {
		if _, err := t.exec(receiptErase, ids); err != nil {
			return 0, 0, err
		}
	}
	if seen < limit || young {
		next = 0
	}
	return next, len(ids), nil
}
