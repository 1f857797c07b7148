package move_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// volumeVariable says of how many events a journal is made that is moved by the
// clock: each is five rows.
const volumeVariable = "INVOICEBOX_MOVE_TEST_EVENTS"

// TestVolume measures rows a second, and that memory does not grow with them.
func TestVolume(t *testing.T) {
	events, err := strconv.Atoi(os.Getenv(volumeVariable))
	if err != nil {
		t.Skip(volumeVariable + " says of how many events; it is not set")
	}
	_, database := server(t)
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	path, address := filepath.Join(t.TempDir(), "journal.db"), database(t)
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: journaltest.Plain})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.EnsureAccount(t.Context(), account, "p"); err != nil {
		t.Fatal(err)
	}
	if err := j.InitPositions(t.Context(), []journal.Position{{Topic: schemas.TypeProviderSelected}}); err != nil {
		t.Fatal(err)
	}
	for from := 0; from < events; from += 500 {
		b := journal.Batch{Topic: schemas.TypeProviderSelected, From: int64(from), Next: int64(from + 500)}
		for i := from; i < from+500; i++ {
			e := journaltest.MakeEvent(t, keys, journal.Invite, journal.ShopKey{Account: account, Shop: fmt.Sprint("shop-", i)}, fmt.Sprint("event-", i), fmt.Sprintf("somebody-%d@shop.example", i), time.Now())
			e.Offset = int64(i)
			b.Events = append(b.Events, e)
		}
		if _, err := j.Ingest(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	source, err := sqlite.OpenSource(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	target, err := postgres.OpenTarget(t.Context(), postgres.Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, copied, rows := uint64(0), time.Time{}, int64(0)
	began := time.Now()
	r, err := move.Run(t.Context(), source, target, move.Options{From: path, Actor: "test", Progress: func(p move.Progress) {
		runtime.ReadMemStats(&during)
		peak = max(peak, during.HeapInuse)
		if !p.Comparing {
			copied = time.Now()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range r.Tables {
		rows += table.Rows
	}
	all, first := time.Since(began), copied.Sub(began)
	t.Logf("%d rows: copied in %v (%.0f rows/s), compared in %v (%.0f rows/s); heap in use %d MiB before, at most %d MiB during",
		rows, first.Round(time.Millisecond), float64(rows)/first.Seconds(), (all - first).Round(time.Millisecond), float64(rows)/(all-first).Seconds(),
		before.HeapInuse>>20, peak>>20)
	if peak > before.HeapInuse+(64<<20) {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
}
