package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/testutil/pgtest"
)

// Where no table can be made, or written, it is said before a worker tries.
func TestMayWork(t *testing.T) {
	s := pgtest.Start(t)
	url := s.Database(t, "template0")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, statement := range []string{"CREATE ROLE reader", "CREATE SCHEMA own", "CREATE SCHEMA made"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	with := func(setting string) string {
		if strings.Contains(url, "?") {
			return url + "&" + setting
		}
		return url + "?" + setting
	}
	j, err := Open(t.Context(), Options{URL: with("search_path=made"), Planner: journaltest.Plain})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	for _, statement := range []string{
		"CREATE ROLE writer", "GRANT ALL ON SCHEMA made TO reader, writer", "GRANT SELECT ON ALL TABLES IN SCHEMA made TO reader", "GRANT USAGE ON ALL SEQUENCES IN SCHEMA made TO reader",
		"GRANT ALL ON ALL TABLES IN SCHEMA made TO writer", "CREATE ROLE worker", "GRANT USAGE ON SCHEMA made TO worker", "GRANT ALL ON ALL TABLES IN SCHEMA made TO worker",
		"REVOKE UPDATE, DELETE ON made.audit FROM worker", "GRANT ALL ON made.attempt_id, made.event_id, made.outbox_row TO worker", "CREATE TABLE made.another (id INT)",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for address, want := range map[string]string{
		with("search_path=made"):                   "",
		with("search_path=made&role=worker"):       "",
		with("search_path=made&role=reader"):       "journal: the user lacks the right INSERT, UPDATE, DELETE on table account and ",
		with("search_path=made&role=writer"):       "journal: the user lacks the right USAGE on sequence attempt_id and 2 more: have the owner of the tables grant it",
		url:                                        "",
		with("search_path=own"):                    "",
		with("search_path=nope"):                   "journal: search_path names no schema that exists and that the user may use: create it first, owned by the user",
		with("search_path=own&role=reader"):        "journal: search_path names no schema that exists and that the user may use: create it first, owned by the user",
		with("search_path=pg_catalog&role=reader"): `journal: the user may not make tables in schema "pg_catalog"`,
	} {
		got := ""
		if err := MayWork(t.Context(), Options{URL: address}); err != nil {
			got = err.Error()
		}
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// Another program's tables are told as such, and nothing is made beside them.
func TestAnotherProgramsSchemaIsRefused(t *testing.T) {
	server := pgtest.Start(t)
	url := server.Database(t, "")
	name := url[strings.LastIndex(url, "/")+1 : strings.LastIndex(url, "?")]
	server.Exec(t, name, "CREATE TABLE event (id INT)")
	j, err := Open(t.Context(), Options{URL: url, Planner: journaltest.Plain})
	if err == nil {
		_ = j.Close()
	}
	if !errors.Is(err, move.ErrNotEmpty) || !strings.Contains(fmt.Sprint(err), `another program's table "event"`) {
		t.Errorf("it says %v", err)
	}
	server.Exec(t, name, "CREATE TABLE goose_db_version (id INT)") // nobody has made it
}

// restricted makes a role that has the rights of a worker and no others, and returns the
// URL for it.
func restricted(b *bed, exec func(sql string)) string {
	for _, sql := range []string{
		"CREATE ROLE worker LOGIN", "GRANT USAGE ON SCHEMA public TO worker", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO worker",
		"REVOKE UPDATE, DELETE ON audit FROM worker", "REVOKE INSERT, UPDATE, DELETE ON schema_version, goose_db_version FROM worker", "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO worker",
	} {
		exec(sql)
	}
	return strings.Replace(b.url, "test@", "worker@", 1)
}

// A new run by an operator action reads the last id of an event, for which the right to
// use the sequence is enough.
func TestANewRunNeedsNoOtherRights(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	b.codes(b.open(), 1)
	b.url = restricted(b, func(sql string) { b.server.Exec(t, b.database(), sql) })
	j, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain})
	b.ok(err)
	t.Cleanup(func() { _ = j.Close() })
	o := b.claim(j, journal.Call, 1, time.Hour)[0]
	b.ok(j.Apply(t.Context(), journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Attention, Reason: "test"}))
	b.ok(j.Apply(t.Context(), journal.Transition{Ref: o.Ref, From: journal.Attention, To: journal.Planned, NewRun: true}))
	if next := b.claim(j, journal.Call, 1, time.Hour); len(next) != 1 || next[0].Run != 2 {
		t.Errorf("claimed %+v", next)
	}
}

// Each right that a worker needs on each table is missed by check and by the
// worker, also one that a policy takes away.
func TestEachRightIsMissed(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	b := newBed(t, server)
	b.ok(b.open().Close())
	conn, err := pgx.Connect(t.Context(), b.url)
	b.ok(err)
	defer func() { _ = conn.Close(t.Context()) }()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	url := restricted(b, exec)
	open := func(o Options) error {
		o.URL, o.Planner = url, journaltest.Plain
		j, err := Open(t.Context(), o)
		if err == nil {
			err = j.Close()
		}
		return err
	}
	if err := errors.Join(MayWork(t.Context(), Options{URL: url}), open(Options{})); err != nil {
		t.Fatalf("with all rights: %v", err)
	}
	denied := func(what string, beside bool, words ...string) {
		t.Helper()
		got := map[string]error{"check": MayWork(t.Context(), Options{URL: url}), "run": open(Options{})}
		if beside {
			got["a command"] = open(Options{ReadOnly: true})
		}
		for who, err := range got {
			_, ok := errors.AsType[*DeniedError](err)
			for _, word := range words {
				ok = ok && strings.Contains(err.Error(), word)
			}
			if !ok {
				t.Errorf("%s without %s: %v", who, what, err)
			}
		}
	}
	for _, table := range tables() {
		for _, right := range written(table) {
			exec("REVOKE " + right + " ON " + table + " FROM worker")
			denied(right+" on "+table, right == "SELECT", right, "on table "+table, "grant")
			exec("GRANT " + right + " ON " + table + " TO worker")
		}
		exec("ALTER TABLE " + table + " ENABLE ROW LEVEL SECURITY")
		denied("rows of "+table, true, "row-level security", table)
		exec("ALTER TABLE " + table + " DISABLE ROW LEVEL SECURITY")
	}
	for _, sequence := range sequences {
		exec("REVOKE USAGE ON SEQUENCE " + sequence + " FROM worker")
		denied("sequence "+sequence, false, "USAGE on sequence "+sequence)
		exec("GRANT USAGE ON SEQUENCE " + sequence + " TO worker")
	}
	// What the catalogue does not show is tried.
	exec("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = '42501'; END $$")
	exec("CREATE TRIGGER no BEFORE INSERT ON attempt FOR EACH STATEMENT EXECUTE FUNCTION no()")
	if err := MayWork(t.Context(), Options{URL: url}); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("a trigger that refuses: %v", err)
	}
	exec("DROP TRIGGER no ON attempt")
	if err := errors.Join(MayWork(t.Context(), Options{URL: url}), open(Options{})); err != nil {
		t.Fatalf("with all rights again: %v", err)
	}
	var left int
	b.ok(conn.QueryRow(t.Context(), "SELECT count(*) FROM meta WHERE name = 'check'").Scan(&left))
	if left != 0 {
		t.Error("a check leaves something behind")
	}
}
