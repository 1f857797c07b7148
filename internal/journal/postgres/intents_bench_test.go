package postgres

import (
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
)

func BenchmarkPendingIntents(b *testing.B) {
	server := pgtest.Start(b)
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	journaltest.MeasurePendingIntents(b, keys, func(b *testing.B) journal.Journal {
		b.Helper()
		j, err := Open(b.Context(), Options{URL: server.Database(b, ""), Planner: journaltest.Keeping})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = j.Close() })
		return j
	})
}
