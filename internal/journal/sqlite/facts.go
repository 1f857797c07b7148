package sqlite

import (
	"invoicebox-worker/internal/journal"
)

// maxFacts bounds how many operations are cached.
const maxFacts = 20_000

// facts of an operation never change. They are cached from the claim to the end, so that
// the steps between need not read the row. The statement that writes the row compares what
// can change.
type facts struct {
	account, shop int64
	kind          journal.Kind
	key           journal.ShopKey
}

// facts returns those of an operation; ErrStale if there is none.
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

// keepFacts caches those of a claimed operation.
func (t *tx) keepFacts(operation int64, f facts) {
	makeRoom(t.j.writer.facts)
	t.j.writer.facts[operation] = f
}

// makeRoom bounds a cache. It removes any entry, because a missing one is read from the
// database.
func makeRoom[K comparable, V any](m map[K]V) {
	if len(m) < maxFacts {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}
