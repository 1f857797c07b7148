package postgres

import (
	"errors"

	"invoicebox-worker/internal/journal"
)

// A standby that took over lacks that one had taken the turn. When the other
// takes it there it is another turn, and the first one finds that.
func testTurnLost(b *bed) {
	one, two := b.open(), b.open()
	was := int64(0)
	b.ok(one.readers.QueryRow(b.Context(), "SELECT term FROM relay_lease").Scan(&was))
	had, err := one.TakeTurn(b.Context())
	b.ok(err)
	_, err = two.readers.Exec(b.Context(), "UPDATE relay_lease SET term = $1, expires = 0", was)
	b.ok(err)
	got, err := two.TakeTurn(b.Context())
	b.ok(err)
	if got.Number == had.Number {
		b.Errorf("two replicas have turn %d", got.Number)
	}
	if _, err := one.TakeTurn(b.Context()); !errors.Is(err, journal.ErrTurnTaken) {
		b.Errorf("both keep the turn: %v", err)
	}
	if err := one.MarkPublished(b.Context(), []journal.Published{{Row: 1}}); !errors.Is(err, journal.ErrStale) {
		b.Errorf("both mark: %v", err)
	}
}
