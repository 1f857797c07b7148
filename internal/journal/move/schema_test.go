package move_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/sqlite"
)

// columns reads pairs of table and column, with the column's type.
func columns(t *testing.T, db *sql.DB, query string) map[string]map[string]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	found := map[string]map[string]string{}
	for rows.Next() {
		var table, column, typ string
		if err := rows.Scan(&table, &column, &typ); err != nil {
			t.Fatal(err)
		}
		if found[table] == nil {
			found[table] = map[string]string{}
		}
		found[table][column] = typ
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// walk compares the columns that a schema has with those that are carried.
func walk(t *testing.T, side string, found map[string]map[string]string, want func(move.Table) []string, alone map[string]string) {
	t.Helper()
	for _, table := range move.Tables() {
		has := found[table.Name]
		if has == nil {
			t.Errorf("%s has no table %s, and it is said to be carried", side, table.Name)
		}
		columns := want(table)
		for _, c := range columns {
			if has[c] == "" {
				t.Errorf("%s has no column %s.%s, and it is said to be carried", side, table.Name, c)
			}
			delete(has, c)
		}
		for c := range has {
			t.Errorf("column %s.%s of %s is not carried: say in Tables what becomes of it", table.Name, c, side)
		}
		delete(found, table.Name)
	}
	for table := range found {
		// meta goes by FactFates; the other is of the migrations.
		if table != "meta" && table != "goose_db_version" && alone[table] == "" {
			t.Errorf("table %s of %s is not carried: say in Tables what becomes of it", table, side)
		}
	}
}

const liteColumns = `SELECT m.name, c.name, c.type FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'`

func newest(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "j.db")
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: journaltest.Plain})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryColumnOfTheSourceIsCarried(t *testing.T) {
	walk(t, "SQLite", columns(t, lite(t, newest(t)), liteColumns), func(table move.Table) []string { return table.Columns }, nil)
	for _, table := range move.Tables() {
		for _, c := range slices.Concat(table.Counted, table.Numbers) {
			if !slices.Contains(table.Columns, c) {
				t.Errorf("%s.%s is no column that is carried", table.Name, c)
			}
		}
	}
}

func everyColumnOfTheTarget(t *testing.T, _ *filled, database func(*testing.T) string) {
	db, err := sql.Open("pgx", database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	const query = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()"
	there := columns(t, db, query)
	from := columns(t, lite(t, newest(t)), liteColumns)
	types := map[string]string{"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}
	for _, table := range move.Tables() {
		for _, c := range table.Columns {
			want := types[from[table.Name][c]]
			if slices.Contains(table.Numbers, c) {
				want = "ARRAY"
			}
			if got := there[table.Name][c]; got != want {
				t.Errorf("%s.%s is %s on PostgreSQL and %s on SQLite", table.Name, c, got, from[table.Name][c])
			}
		}
	}
	walk(t, "PostgreSQL", there, func(table move.Table) []string { return slices.Concat(table.Columns, table.Made) }, move.MadeTables())
}

// Whatever the journal on SQLite keeps in table meta has a fate.
func TestEveryFactHasAFate(t *testing.T) {
	files, err := filepath.Glob("../sqlite/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	names := []*regexp.Regexp{
		regexp.MustCompile(`setMeta, "(\w+)"`), regexp.MustCompile(`metaNumber\([\w.]+, "(\w+)"\)`),
		regexp.MustCompile(`j\.meta\(ctx, "(\w+)"\)`), regexp.MustCompile(`meta WHERE name = '(\w+)'`), regexp.MustCompile(`(?:meta \(name, value\) VALUES \(|\), \()'(\w+)'`),
	}
	seen := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range names {
			for _, m := range r.FindAllStringSubmatch(string(text), -1) {
				seen[m[1]] = true
			}
		}
	}
	fates := move.FactFates()
	for name := range seen {
		if _, ok := fates[name]; !ok {
			t.Errorf("fact %q is not in FactFates", name)
		}
	}
	for _, name := range []string{"identity", "created", "history", "clock", "place", "copied", "recovering"} {
		if !seen[name] {
			t.Errorf("fact %q was not found in the sources: this test looks for the wrong words", name)
		}
	}
}
