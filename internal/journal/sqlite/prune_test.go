package sqlite

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
)

// No table can grow without a word about what is forgotten of it.
func TestEveryTableIsInTheTable(t *testing.T) {
	j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
	rows := journal.TableRows()
	var there []string
	if err := j.read(t.Context(), "SELECT name FROM sqlite_schema WHERE type = 'table'", func(scan scanner) error {
		var name string
		err := scan(&name)
		there = append(there, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range there {
		known := slices.ContainsFunc(rows, func(r journal.TableRow) bool { return r.Table == name })
		if own := !strings.HasPrefix(name, "goose_") && !strings.HasPrefix(name, "sqlite_"); own && !known {
			t.Errorf("table %s is not in the table", name)
		}
	}
	for _, r := range rows {
		if r.Target != 0 && !slices.Contains(there, r.Table) {
			t.Errorf("there is no table %s", r.Table)
		}
	}
}
