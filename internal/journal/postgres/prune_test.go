package postgres

import (
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/testutil/pgtest"
)

// No table can grow without a word about what is forgotten of it.
func TestEveryTableIsInTheTable(t *testing.T) {
	server := pgtest.Start(t)
	j, err := Open(t.Context(), Options{URL: server.Database(t, ""), Planner: journaltest.Plain, Mark: samePlace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	var there, want []string
	if err := j.read(t.Context(), "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()", func(r row) error {
		if name := r.text(0); !strings.HasPrefix(name, "goose_") {
			there = append(there, name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, r := range journal.TableRows() {
		want = append(want, r.Table)
	}
	slices.Sort(there)
	if !slices.Equal(there, want) {
		t.Errorf("the tables are %v, the table has %v", there, want)
	}
}
