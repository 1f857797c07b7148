package sqlite

import (
	"path/filepath"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
)

func BenchmarkPendingIntents(b *testing.B) {
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	journaltest.MeasurePendingIntents(b, keys, func(b *testing.B) journal.Journal {
		b.Helper()
		j, err := Open(b.Context(), Options{Path: filepath.Join(b.TempDir(), "journal.db"), Planner: journaltest.Keeping})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = j.Close() })
		return j
	})
}
