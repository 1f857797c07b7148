package sqlite

import (
	"invoicebox-worker/internal/journal"
)

// maxFacts bounds how many operations are kept in memory.
const maxFacts = 20_000

// facts of an operation never change. They are kept from the claim to the end,
// so that the steps between need no look at the row: what they compare is
// compared by the statement that writes.
type facts struct {
	account, shop int64
	kind          journal.Kind
	key           journal.ShopKey
}

// facts finds those of an operation; ErrStale when there is none.
func (t *tx) facts(operation int64) (facts, error) {
	if f, ok := t.j.writer.facts[operation]; ok {
		return f, nil
	}
	r, err := t.one("SELECT o.account, o.shop, o.kind, s.name FROM operation o CROSS JOIN shop s ON s.id = o.shop WHERE o.id = ?", operation)
	if err != nil {
		return facts{}, err
	}
	if r == nil {
		return facts{}, journal.ErrStale
	}
	return facts{
		account: r.int(0), shop: r.int(1), kind: journal.Kind(r.int(2)), // #nosec G115 -- our own numbers
		key: journal.ShopKey{Account: t.j.writer.names[r.int(0)], Shop: r.text(3)},
	}, nil
}

// keepFacts remembers those of a claimed operation.
func (t *tx) keepFacts(operation int64, f facts) {
	makeRoom(t.j.writer.facts)
	t.j.writer.facts[operation] = f
}

// makeRoom keeps a memory within its bound: any entry goes, what is missing is
// read from the database.
func makeRoom[K comparable, V any](m map[K]V) {
	if len(m) < maxFacts {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}
