package sqlite

import (
	"hash/maphash"

	"invoicebox-worker/internal/journal"
)

// invitees counts the open invitations of shops, and the shops to be reminded of one, by a
// hash of the shop. Almost every shop that chose another provider has none and needs no
// query. Two shops with the same hash cost a query.
type invitees map[uint64]int32

func (w *writer) hash(k journal.ShopKey) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.WriteString(k.Account)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(k.Shop)
	return h.Sum64()
}

// invitation counts an invitation that begins or ends. It is undone with its request.
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
