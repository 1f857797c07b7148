package move_test

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/schema"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/journal/steps"
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
func walk(t *testing.T, side string, found map[string]map[string]string, alone map[string]string) {
	t.Helper()
	for _, table := range move.Tables() {
		has := found[table.Name]
		if has == nil {
			t.Errorf("%s has no table %s, and it is said to be carried", side, table.Name)
		}
		for _, c := range slices.Concat(table.Columns, table.Made) {
			if has[c] == "" {
				t.Errorf("%s has no column %s.%s, and Tables has it", side, table.Name, c)
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
	walk(t, "SQLite", columns(t, lite(t, newest(t)), liteColumns), nil)
	for _, table := range move.Tables() {
		for _, c := range table.Counted {
			if !slices.Contains(table.Columns, c) {
				t.Errorf("%s.%s is no column that is carried", table.Name, c)
			}
		}
	}
}

// everyColumnOfTheTarget compares the tables of both databases, and what is carried
// with the columns of the target.
func everyColumnOfTheTarget(t *testing.T, _ *filled, database func(*testing.T) string) {
	db, err := sql.Open("pgx", database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	file := lite(t, newest(t))
	want, got := describe(t, file, liteTables), describe(t, db, postgresTables)
	made := move.MadeTables()
	for table := range got {
		if made[table] != "" {
			delete(got, table)
		}
	}
	// On SQLite ids increase with the time of the start.
	want["attempt"] = append(want["attempt"], "index attempt_started (started)")
	for _, tables := range []map[string][]string{want, got} {
		for _, lines := range tables {
			slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(indexLine(a), indexLine(b)) })
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tables differ (- SQLite, + PostgreSQL):\n%s", diff)
	}

	const query = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()"
	walk(t, "PostgreSQL", columns(t, db, query), made)
}

// indexLine leaves columns in their order and sorts indexes behind them.
func indexLine(line string) string {
	if strings.HasPrefix(line, "column ") {
		return ""
	}
	return line
}

// Both queries describe tables line by line in the same words: columns in their
// order, then the primary key, constraints and indexes. Columns of a primary key
// are never NULL, which SQLite does not note for all of them.
const (
	liteTables = `WITH t(name, sql) AS (SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'goose_db_version')
		SELECT t.name, 'column ' || c.name || ' ' || 
			CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'BLOB' THEN 'bytea' ELSE lower(c.type) END ||
			iif(c."notnull" OR c.pk, ' not null', '') || coalesce(' default ' || c.dflt_value, ''), 0, c.cid FROM t JOIN pragma_table_info(t.name) c
		UNION ALL SELECT t.name, 'primary key (' || group_concat(c.name, ', ' ORDER BY c.pk) || ')', 1, 0 FROM t JOIN pragma_table_info(t.name) c WHERE c.pk > 0 GROUP BY 1
		UNION ALL SELECT t.name, CASE i.origin WHEN 'u' THEN 'unique' ELSE iif(i."unique", 'unique ', '') || 'index ' || i.name END || ' (' ||
			(SELECT group_concat(x.name, ', ' ORDER BY x.seqno) FROM pragma_index_info(i.name) x) || ')' ||
			coalesce((SELECT substr(s.sql, instr(s.sql, ' WHERE ')) FROM sqlite_schema s WHERE s.name = i.name AND i.partial), ''), 1, 0
			FROM t JOIN pragma_index_list(t.name) i WHERE i.origin <> 'pk'
		ORDER BY 1, 3, 4`
	postgresTables = `WITH t(name, oid) AS (SELECT relname, oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname <> 'goose_db_version')
		SELECT t.name, 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END ||
			coalesce(' default ' || replace(pg_get_expr(d.adbin, d.adrelid), '::text', ''), ''), 0, a.attnum::int
			FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
		UNION ALL SELECT t.name, CASE c.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' ELSE CASE WHEN i.indisunique THEN 'unique ' ELSE '' END || 'index ' || n.relname END ||
			' (' || (SELECT string_agg(a.attname, ', ' ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY k(attnum, place) JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum) || ')' ||
			coalesce(' WHERE ' || replace(trim(BOTH '()' FROM pg_get_expr(i.indpred, i.indrelid)), '"', ''), ''), 1, 0
			FROM t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class n ON n.oid = i.indexrelid LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid
		ORDER BY 1, 3, 4`
)

// describe reads a description of each table.
func describe(t *testing.T, db *sql.DB, query string) map[string][]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	tables := map[string][]string{}
	for rows.Next() {
		var table, line string
		var part, place int
		if err := rows.Scan(&table, &line, &part, &place); err != nil {
			t.Fatal(err)
		}
		tables[table] = append(tables[table], line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return tables
}

// factsOn lists the facts of a database.
func factsOn(database steps.FactDatabase) map[string]bool {
	names := map[string]bool{}
	for _, f := range steps.Facts() {
		if f.On == database || f.On == steps.OnBoth {
			names[f.Name] = true
		}
	}
	return names
}

// Every fact in table meta is explained beside the table, with the database that
// has it: one name has one meaning.
func TestEveryFactIsExplained(t *testing.T) {
	text, err := fs.ReadFile(schema.PostgreSQL(), "0001_journal.sql")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[steps.FactDatabase]map[string]bool{steps.OnSQLite: {}, steps.OnPostgreSQL: {}}
	on := map[string]steps.FactDatabase{"both": steps.OnBoth, "SQLite": steps.OnSQLite, "PostgreSQL": steps.OnPostgreSQL}
	for _, m := range regexp.MustCompile(`(?m)^--   (\w+) +(both|SQLite|PostgreSQL): `).FindAllStringSubmatch(string(text), -1) {
		for database, names := range explained {
			if on[m[2]] == database || on[m[2]] == steps.OnBoth {
				names[m[1]] = true
			}
		}
	}
	for database, names := range explained {
		if diff := cmp.Diff(names, factsOn(database)); diff != "" {
			t.Errorf("facts of %v (- explained, + in steps.Facts):\n%s", database, diff)
		}
	}
}

// Whatever the journal on SQLite keeps in table meta has a fate.
func TestEveryFactHasAFate(t *testing.T) {
	fates := map[string]bool{}
	for name := range move.FactFates() {
		fates[name] = true
	}
	if diff := cmp.Diff(factsOn(steps.OnSQLite), fates); diff != "" {
		t.Errorf("- in steps.Facts, + in FactFates:\n%s", diff)
	}
	for name, fact := range map[string]steps.Fact{move.Moving: steps.Moving, move.Moved: steps.Moved, move.Copying: steps.Copying} {
		if fact.String() != name {
			t.Errorf("the mark %q is the fact %q", name, fact)
		}
	}
}
