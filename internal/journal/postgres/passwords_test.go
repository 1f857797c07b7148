package postgres

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/testutil/pgtest"
)

// The password file is asked for each host.
func TestPasswordOfEachHost(t *testing.T) {
	server := pgtest.Start(t)
	b := newBed(t, server)
	name := b.database()
	server.Exec(t, name, "CREATE ROLE pw LOGIN PASSWORD 'right'; ALTER DATABASE "+name+" OWNER TO pw")
	server.Exec(t, name, "DO $$ BEGIN EXECUTE format('COPY (SELECT unnest(ARRAY[''host all pw all scram-sha-256'', ''host all all all trust''])) TO %L', current_setting('hba_file')); END $$")
	server.Exec(t, name, "SELECT pg_reload_conf()")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	b.ok(err)
	away := l.Addr().(*net.TCPAddr).Port
	b.ok(l.Close())
	c, err := parse(b.url)
	b.ok(err)
	b.eventually("the server does not ask for passwords", func() bool {
		conn, err := pgx.Connect(t.Context(), strings.Replace(b.url, "test@", "pw@", 1))
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err != nil
	})
	file := filepath.Join(t.TempDir(), "pgpass")
	url := func(hosts ...string) string {
		return fmt.Sprintf("postgres://pw@%s/%s?sslmode=disable&passfile=%s", strings.Join(hosts, ","), name, file)
	}
	down, up := fmt.Sprintf("127.0.0.1:%d", away), fmt.Sprintf("127.0.0.1:%d", c.Port)
	for _, tc := range []struct {
		lines string
		works bool
	}{
		{down + ":*:pw:wrong\n" + up + ":*:pw:right\n", true},
		{up + ":*:pw:right\n", true},
		{"*:*:*:pw:right\n", true},
		{down + ":*:pw:right\n" + up + ":*:pw:wrong\n", false},
	} {
		b.ok(os.WriteFile(file, []byte(tc.lines), 0o600))
		address := url(down, up)
		works := func(what string, err error) {
			t.Helper()
			if (err == nil) != tc.works || err != nil && !strings.Contains(err.Error(), "password") {
				t.Errorf("%q: %s gives %v", tc.lines, what, err)
			}
		}
		works("check", MayWork(t.Context(), Options{URL: address}))
		for _, beside := range []bool{false, true} {
			j, err := Open(t.Context(), Options{URL: address, Planner: journaltest.Plain, ReadOnly: beside})
			if err == nil {
				err = j.Close()
			}
			works(fmt.Sprintf("opening (%v)", beside), err)
		}
		target, err := OpenTarget(t.Context(), Options{URL: address})
		if err == nil {
			target.Close()
		}
		works("a copy", err)
	}
}
