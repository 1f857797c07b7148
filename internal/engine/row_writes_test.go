package engine_test

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/golden"
)

// uncounted are the tables of a SQLite journal that no operation writes to by
// itself: each batch of records updates one row of position, and each commit one row
// of meta.
var uncounted = []string{"position", "meta"}

// rowWrites counts the rows that are written to a service's journal, with triggers in
// the file.
type rowWrites struct {
	*sql.DB
	s *service
}

func countRowWrites(s *service) rowWrites {
	s.Helper()
	db, err := sql.Open("sqlite", s.path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = db.Close() })
	w := rowWrites{db, s}
	tables := w.texts("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
	w.run("CREATE TABLE row_write (target TEXT NOT NULL, verb TEXT NOT NULL)")
	for _, table := range tables {
		for _, verb := range []string{"INSERT", "UPDATE", "DELETE"} {
			w.run(fmt.Sprintf("CREATE TRIGGER row_write_%s_%s AFTER %s ON %s BEGIN INSERT INTO row_write VALUES ('%[2]s', '%[1]s'); END", verb, table, verb, table))
		}
	}
	return w
}

func (w rowWrites) run(statement string) {
	w.s.Helper()
	if _, err := w.ExecContext(w.s.Context(), statement); err != nil {
		w.s.Fatal(err)
	}
}

func (w rowWrites) texts(query string) (all []string) {
	w.s.Helper()
	rows, err := w.QueryContext(w.s.Context(), query)
	if err != nil {
		w.s.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			w.s.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		w.s.Fatal(err)
	}
	return all
}

// of returns the row writes of an event, from its ingest until its result is marked as
// published: for each table how many rows are inserted, updated and deleted.
func (w rowWrites) of(e journal.Event) map[string][]string {
	w.s.Helper()
	w.run("DELETE FROM row_write")
	w.s.ingest(e)
	w.s.settle(10 * time.Second)
	rows, err := w.s.j.Pending(w.s.Context(), 0, 10, 1<<20)
	if err != nil || len(rows) != 1 {
		w.s.Fatalf("%d results wait to be published: %v", len(rows), err)
	}
	if err := w.s.j.MarkPublished(w.s.Context(), []journal.Published{{Row: rows[0].Row, Offset: 1}}); err != nil {
		w.s.Fatal(err)
	}
	writes := map[string][]string{}
	for _, write := range w.texts("SELECT target || ' ' || lower(verb) FROM row_write ORDER BY target, verb = 'DELETE', verb") {
		table, verb, _ := strings.Cut(write, " ")
		if !slices.Contains(uncounted, table) {
			writes[table] = append(writes[table], verb)
		}
	}
	return writes
}

// The documentation lists the rows that the invitation of a new shop writes, and then
// its activation.
func TestRowWrites(t *testing.T) {
	s := newService(t, calm())
	s.start()
	defer s.finish()
	count := countRowWrites(s)
	count.of(s.event(journal.Activate, "warm-up", "event-0", "code-0")) // inserts the rate limits
	invitation := count.of(s.event(journal.Invite, "shop", "event-1", "shop@example.com"))
	activation := count.of(s.event(journal.Activate, "shop", "event-2", "code"))
	names := make(map[string]bool)
	for name := range activation {
		names[name] = true
	}
	for name := range invitation {
		names[name] = true
	}
	table := [][]string{{"Table", "Invitation", "Activation"}}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		table = append(table, []string{"`" + name + "`", verbs(invitation[name]), verbs(activation[name])})
	}
	table = append(table, []string{"all", strconv.Itoa(total(invitation)), strconv.Itoa(total(activation))})
	golden.CompareMarkdown(t, "../../docs/performance.md", "## Row writes of an event", table)
}

func verbs(list []string) string {
	if len(list) == 0 {
		return "–"
	}
	return strings.Join(list, ", ")
}

func total(writes map[string][]string) (n int) {
	for _, list := range writes {
		n += len(list)
	}
	return n
}
