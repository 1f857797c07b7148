package sqlite

import (
	"hash/maphash"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// invitees counts the open invitations of shops by a hash of the shop: almost
// every shop that chose another provider has none, and is known by that without
// a look into the database. Two shops of one hash cost a look.
type invitees map[uint64]int32

func (w *writer) hash(k journal.ShopKey) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.WriteString(k.Account)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(k.Shop)
	return h.Sum64()
}

// invitation counts one that opens or closes, until the request is taken back.
func (t *tx) invitation(k journal.ShopKey, opens bool) {
	n := int32(-1)
	if opens {
		n = 1
	}
	h := t.j.writer.hash(k)
	t.j.writer.invitees.add(h, n)
	t.undo = append(t.undo, func() { t.j.writer.invitees.add(h, -n) })
}

func (is invitees) add(h uint64, n int32) {
	if is[h] += n; is[h] == 0 {
		delete(is, h)
	}
}

// reasonDeselected is the reason of operations that another provider ended.
const reasonDeselected = "deselected"

const deselectRead = `SELECT o.id, o.shop, o.lane FROM shop s CROSS JOIN operation o ON o.shop = s.id
	WHERE s.account = ? AND s.name = ? AND o.lane IN (1, 2, 4) AND o.kind = 1 AND o.state IN (1, 2, 3) AND o.doubt = 0`

// deselect cancels the invitations of a shop that were never sent. Of the
// shops that are not ours it costs a look and nothing else.
func (t *tx) deselect(k journal.ShopKey) error {
	if t.j.writer.invitees[t.j.writer.hash(k)] == 0 {
		return nil
	}
	account, ok := t.j.writer.accounts[k.Account]
	if !ok {
		return nil
	}
	var ids []int64
	var shop int64
	held := false
	err := t.each(deselectRead, in{account, k.Shop}, func(r row) error {
		ids, shop, held = append(ids, r.int(0)), r.int(1), held || r.int(2) == stored.LaneHeld
		return nil
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	for _, id := range ids {
		if err := t.supersede(id, reasonDeselected); err != nil {
			return err
		}
		t.invitation(k, false)
	}
	if held {
		return t.release(shop)
	}
	return nil
}
