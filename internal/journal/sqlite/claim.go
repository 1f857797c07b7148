package sqlite

import (
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

func (t *tx) receipts(where string, args ...any) (list []journal.StoredReceipt, err error) {
	err = t.each("SELECT r.attempt, r.answer, r.at, b.uuid, r.sealed_for FROM receipt r JOIN operation_body b ON b.id = r.operation WHERE "+where+" ORDER BY r.attempt", args,
		func(r row) error {
			list = append(list, journal.StoredReceipt{Operation: asUUID(r.blob(3)), Attempt: journal.AttemptID(r.int(0)), Sealed: r.blob(1), SealedFor: r.text(4), At: wall(r.int(2))})
			return nil
		})
	return list, err
}

// Changed is signalled after a commit by which an operation may have become due.
func (j *Journal) Changed() <-chan struct{} { return j.changed }

func asUUID(b []byte) uuid.UUID {
	id, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil
	}
	return id
}

const laneRead = `SELECT EXISTS (SELECT 1 FROM operation WHERE shop = ?1 AND lane = 1),
	(SELECT id FROM operation WHERE shop = ?1 AND lane = 2 AND kind = 1 ORDER BY lane_order, id LIMIT 1),
	(SELECT id FROM operation WHERE shop = ?1 AND lane = 2 AND kind = 2 ORDER BY lane_order, id LIMIT 1),
	(SELECT id FROM operation WHERE shop = ?1 AND lane = 4 ORDER BY lane_order, id LIMIT 1)`

const earlierRead = "SELECT id FROM operation WHERE id IN (?, ?) ORDER BY lane_order, id LIMIT 1"

// release makes the shop's next operation Planned if nothing holds the lane.
func (t *tx) release(shop int64) error {
	r, err := t.one(laneRead, shop)
	if err != nil {
		return err
	}
	held, invite, activate, last := r.int(0) != 0, r.int(1), r.int(2), r.int(3)
	id := invite + activate
	switch {
	case held:
		return nil
	case invite != 0 && activate != 0:
		if r, err = t.one(earlierRead, invite, activate); err != nil {
			return err
		}
		id = r.int(0)
	case id == 0 && last == 0:
		return nil
	case id == 0:
		id = last
	}
	t.woken = true
	_, err = t.exec("UPDATE operation SET state = ?, stage = ?, due_at = ?, lane = ?, changed = ? WHERE id = ?",
		int64(journal.Planned), int64(journal.Call), t.now, stored.LaneHeld, t.now, id)
	return err
}
