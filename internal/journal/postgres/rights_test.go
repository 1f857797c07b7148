package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/pgtest"
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
		"REVOKE UPDATE, DELETE ON made.audit FROM worker", "GRANT ALL ON made.attempt_id, made.event_id, made.operation_id, made.outbox_row TO worker", "CREATE TABLE made.another (id INT)",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for address, want := range map[string]string{
		with("search_path=made"):                   "",
		with("search_path=made&role=worker"):       "",
		with("search_path=made&role=reader"):       "journal: the user may not insert rows of table account: have the owner of the tables grant it",
		with("search_path=made&role=writer"):       "journal: the user may not use sequence attempt_id: have the owner of the tables grant it",
		url:                                        "",
		with("search_path=own"):                    "",
		with("search_path=nope"):                   "journal: search_path names no schema that is there and that the user may use: make it first, owned by the user",
		with("search_path=own&role=reader"):        "journal: search_path names no schema that is there and that the user may use: make it first, owned by the user",
		with("search_path=pg_catalog&role=reader"): `journal: the user may not make tables in schema "pg_catalog"`,
	} {
		got := ""
		if err := MayWork(t.Context(), Options{URL: address}); err != nil {
			got = err.Error()
		}
		if got != want {
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
