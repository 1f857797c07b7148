package postgres

import (
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// reasonDeselected is the reason of operations that another provider ended.
const reasonDeselected = "deselected"

const deselectRead = `SELECT o.id, o.lane FROM operation o
	WHERE o.shop = $1 AND o.lane IN (1, 2, 4) AND o.kind = 1 AND o.state IN (1, 2, 3) AND o.doubt = 0`

// deselect cancels the invitations of shops that were never sent. The shops that
// have any are locked; of the others nothing is looked at.
func (t *tx) deselect(keys []journal.ShopKey) error {
	var shops []int64
	for _, k := range keys {
		if id, ok := t.invited[k]; ok {
			shops = append(shops, id)
		}
	}
	return t.parts(len(shops), func(i int) []string { return []string{shopName(shops[i])} }, func(i int, t *tx) error {
		a, err := t.query(deselectRead, shops[i])
		if err != nil || len(a.rows) == 0 {
			return err
		}
		held := false
		for _, r := range a.rows {
			held = held || r.int(1) == stored.LaneHeld
		}
		if err := t.supersede(idsOf(a.rows), reasonDeselected); err != nil || !held {
			return err
		}
		return t.release(shops[i])
	})
}
