package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/testutil/pgtest"
)

// databases are copies of a template. One that a test has used gets the rows of the
// template again, and is used for another test: a new one takes 0.2 s of CPU time.
type databases struct {
	server   *pgtest.Server
	template string
	reset    string // statements

	mu   sync.Mutex
	free []string // URLs
}

// newDatabases keeps the rows of the template in a schema of its own, which goes into
// the copies.
func newDatabases(t *testing.T, server *pgtest.Server, template string) *databases {
	t.Helper()
	d := &databases{server: server, template: template}
	conn, err := pgx.Connect(t.Context(), server.URL(template))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	list := func(sql string) []string {
		rows, _ := conn.Query(t.Context(), sql)
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	statements := []string{"SET lock_timeout = '5s'", "SET session_replication_role = replica"} // no foreign keys
	keep := []string{"CREATE SCHEMA template"}
	for _, table := range list("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'") {
		columns := strings.Join(list("SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '"+table+"'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"), ", ")
		keep = append(keep, fmt.Sprintf("CREATE TABLE template.%[1]s AS SELECT %[2]s FROM public.%[1]s", table, columns))
		statements = append(statements, "DELETE FROM public."+table,
			fmt.Sprintf("INSERT INTO public.%[1]s (%[2]s) OVERRIDING SYSTEM VALUE SELECT %[2]s FROM template.%[1]s", table, columns))
	}
	statements = append(statements, list("SELECT format('SELECT setval(%L, %s, %L)', schemaname || '.' || quote_ident(sequencename), coalesce(last_value, start_value), last_value IS NOT NULL) FROM pg_sequences WHERE schemaname = 'public'")...)
	if _, err := conn.Exec(t.Context(), strings.Join(keep, ";")); err != nil {
		t.Fatal(err)
	}
	d.reset = strings.Join(statements, ";")
	return d
}

// take gives a database with the rows of the template until the test ends.
func (d *databases) take(t *testing.T) string {
	t.Helper()
	url := d.used()
	if url == "" {
		url = d.server.Database(t, d.template)
	}
	t.Cleanup(func() {
		ctx := context.Background() // the test's own is over
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return // the test has done that to it
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, d.reset); err == nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.free = append(d.free, url)
		}
	})
	return url
}

func (d *databases) used() (url string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.free); n > 0 {
		url, d.free = d.free[n-1], d.free[:n-1]
	}
	return url
}
