package postgres

import (
	"sync/atomic"
	"testing"
	"time"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
)

// BenchmarkPruning measures what pruning costs those who write.
func BenchmarkPruning(b *testing.B) {
	server := pgtest.Start(b)
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	j, err := Open(b.Context(), Options{URL: server.Database(b, ""), Planner: journaltest.Keeping, Now: now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	journaltest.MeasurePruning(b, j, keys, func(d time.Duration) { ahead.Add(int64(d)) }, func() int64 { return 0 })
}
