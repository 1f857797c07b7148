package sqlite

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// The table of sealed columns, and that of the columns that name a key, list what
// the schema has. The schema of PostgreSQL has the same columns: see package move.
func TestSealedColumns(t *testing.T) {
	j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
	type column struct{ table, name, typ string }
	var there []column
	if err := j.read(t.Context(), "SELECT m.name, c.name, c.type FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'", func(scan scanner) error {
		var c column
		err := scan(&c.table, &c.name, &c.typ)
		there = append(there, c)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	has := func(table, name, typ string) bool { return slices.Contains(there, column{table, name, typ}) }
	sealed := keyset.Columns()
	for _, c := range sealed {
		if c.Table != "meta" && !has(c.Table, c.Name, "BLOB") || c.Key != "" && !has(c.Table, c.Key, "INTEGER") {
			t.Errorf("there is no sealed column %s.%s with its key in %q", c.Table, c.Name, c.Key)
		}
		uses := slices.ContainsFunc(journal.KeyColumns(), func(k journal.KeyColumn) bool {
			return k.Table == c.Table && (c.Key != "" && k.Column == c.Key && k.Purpose == journal.KeySealing || c.MAC && k.Column == c.Name && k.Purpose == journal.KeyLookup)
		})
		if !uses && !slices.Contains(journal.KeyColumns(), journal.KeyColumn{Purpose: journal.KeySealing, Table: c.Table, Column: c.Name}) {
			t.Errorf("rows are not counted by the key of %s.%s", c.Table, c.Name)
		}
	}
	for _, k := range journal.KeyColumns() {
		typ := "BLOB"
		if k.Purpose == journal.KeySealing {
			typ = "INTEGER"
		}
		if k.Column != journal.KeysetCheckColumn && !has(k.Table, k.Column, typ) {
			t.Errorf("there is no column %s.%s", k.Table, k.Column)
		}
	}
	for _, c := range there {
		switch {
		case c.typ == "INTEGER" && strings.HasSuffix(c.name, "_key"):
			if !slices.ContainsFunc(sealed, func(s keyset.Column) bool { return s.Table == c.table && s.Key == c.name }) {
				t.Errorf("%s.%s names the key of a sealed column that is not in the table", c.table, c.name)
			}
		case c.typ == "BLOB" && (strings.HasSuffix(c.name, "mac") || c.name == "digest" || c.name == "proof"):
			if !slices.ContainsFunc(journal.KeyColumns(), func(k journal.KeyColumn) bool { return k.Table == c.table && k.Column == c.name }) {
				t.Errorf("%s.%s is made with a look-up key, and rows are not counted by it", c.table, c.name)
			}
		}
	}
}
