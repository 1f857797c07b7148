package sqlite

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
)

const usedPages = `SELECT ((SELECT page_count FROM pragma_page_count()) - (SELECT freelist_count FROM pragma_freelist_count())) * (SELECT page_size FROM pragma_page_size())`

// BenchmarkPruning measures what pruning costs those who write, and leaves.
func BenchmarkPruning(b *testing.B) {
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	j, err := Open(b.Context(), Options{Path: filepath.Join(b.TempDir(), "journal.db"), Planner: journaltest.Keeping, Now: now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	journaltest.MeasurePruning(b, j, keys, func(d time.Duration) { ahead.Add(int64(d)) }, func() (n int64) {
		err := j.read(b.Context(), usedPages, func(scan scanner) error { return scan(&n) })
		if err != nil {
			b.Fatal(err)
		}
		return n
	})
}
