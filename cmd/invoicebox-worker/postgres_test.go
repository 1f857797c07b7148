package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
)

// The same on PostgreSQL, commands and all.
func TestAShopIsActivatedOverPostgreSQL(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.journal = server.Database(t, "")
	if code, out, _ := r.command(append([]string{"check"}, r.service()...)...); code != exitDone || !strings.Contains(out, "does not exist yet") {
		t.Errorf("check before the first run: %d\n%s", code, out)
	}
	activateOne(t, r)
	if code, out, _ := r.command(append([]string{"check"}, with(r.service(), "--maximum-age", "168h")...)...); code != exitDone || warns(out) || !strings.Contains(out, "replication  ok") || !strings.Contains(out, "can be used and fits the keyset") {
		t.Errorf("check: %d\n%s", code, out)
	}
	// Who may only read is told so before a worker finds out.
	name := r.journal[strings.LastIndex(r.journal, "/")+1 : strings.LastIndex(r.journal, "?")]
	server.Exec(t, name, "CREATE ROLE reader LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
	code, out, _ := r.command(append([]string{"check"}, with(r.service(), "--journal-url", strings.Replace(r.journal, "test@", "reader@", 1))...)...)
	if code == exitDone || !strings.Contains(out, "lacks the right INSERT, UPDATE, DELETE on table account") {
		t.Errorf("check with a missing right: %d\n%s", code, out)
	}
	code, out, _ = r.command(append([]string{"check"}, with(r.service(), "--journal-url", server.Pooler(t, name, "pool_mode=transaction"))...)...)
	if code == exitDone || !strings.Contains(out, "journal      failed") || !strings.Contains(out, "pool_mode=session") {
		t.Errorf("check over a pooler in transaction mode: %d\n%s", code, out)
	}
	if code, _, errs := r.command(append([]string{"journal", "backup", r.path("copy")}, r.beside()[:2]...)...); code == exitDone || !strings.Contains(errs, "pg_dump") {
		t.Errorf("journal backup: %d %s", code, errs)
	}
	code, _, errs := r.command(append([]string{"journal", "recover"}, r.service()...)...)
	if code == exitDone || !strings.Contains(errs, "nothing shows that the journal was restored") {
		t.Errorf("journal recover: %d %s", code, errs)
	}
}

// A database that cannot be used is told in words, and no password is.
func TestStartIsRefusedByTheDatabase(t *testing.T) {
	server := pgtest.Start(t)
	volatile := pgtest.Start(t, "synchronous_commit=off")
	r := newRig(t, kafkatest.Embedded(t), calm())
	server.Exec(t, "postgres", "CREATE ROLE stranger LOGIN")
	t.Setenv("PGPASSWORD", "s3cret-word")
	for _, tc := range []struct {
		name, url string
		want      []string
	}{
		{"no server", "postgres://test@" + noListener + "/db", []string{"--journal-url", "nothing listens", "check the address"}},
		{"no TLS", strings.Replace(server.URL("postgres"), "sslmode=disable", "sslmode=verify-full", 1), []string{"--journal-url", "speaks no TLS"}},
		{"no database", server.URL("nowhere"), []string{"--journal-url", "no such database"}},
		{"no rights", strings.Replace(server.Database(t, ""), "test@", "stranger@", 1), []string{"--journal-url", "may not make tables"}},
		{"pooler", server.Pooler(t, "postgres", "pool_mode=transaction"), []string{"--journal-url", "a connection pooler in transaction mode is in front of the server", "pool_mode=session"}},
		{"not durable", volatile.Database(t, ""), []string{"--journal-url", "synchronous_commit is off"}},
		{"a name that nobody knows", "postgres://test@no-such-host.invalid/db?sslmode=verify-full", []string{"--journal-url", "no-such-host.invalid", "cannot be resolved"}},
		{"a password", "postgres://test:s3cret-word@127.0.0.1/db", []string{"--journal-url", "no password", "PGPASSFILE"}},
		{"a password behind", "postgres://test@127.0.0.1/db?password=s3cret-word", []string{"--journal-url", "no password", "PGPASSFILE"}},
		{"a password in what is no address", "postgres://test:s3cret-word@127.0.0.1:port/db", []string{"--journal-url", "no password"}},
		{"no word about TLS", "postgres://test@db.invalid/db", []string{"--journal-url", "sslmode=verify-full"}},
		{"a parameter of libpq", server.URL("postgres") + "&keepalives=1", []string{"--journal-url", `"keepalives"`}},
		{"addresses in brackets", "postgres://test@[::1]:1,[::1]:2/db", []string{"--journal-url", "nothing listens"}},
		{"a socket's folder", "postgres://test@%2Fno%2Fsuch%2Ffolder/db", []string{"--journal-url", "no connection"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errs := r.command(append([]string{"run"}, with(r.service(), "--journal-url", tc.url)...)...)
			if code != exitFailed && code != exitUsage {
				t.Errorf("exit status %d", code)
			}
			for _, word := range tc.want {
				if !strings.Contains(errs, word) {
					t.Errorf("it does not say %q: %s", word, errs)
				}
			}
			if strings.Contains(errs+out, "s3cret") {
				t.Errorf("it tells the password: %s", errs)
			}
		})
	}
	t.Run("a password that others can read", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pgpass")
		if err := os.WriteFile(file, []byte("*:*:*:*:s3cret-word\n"), 0o640); err != nil { // #nosec G306 -- that is what is looked for
			t.Fatal(err)
		}
		url := server.Database(t, "")
		refused := func(url string) {
			t.Helper()
			code, _, errs := r.command(append([]string{"run"}, with(r.service(), "--journal-url", url)...)...)
			if code == exitDone || !strings.Contains(errs, file+" (mode 0640) is open to group or world") {
				t.Errorf("exit status %d: %s", code, errs)
			}
		}
		refused(url + "&passfile=" + file)
		t.Setenv("PGPASSFILE", file)
		refused(url)
	})
	t.Run("files that the driver passes over", func(t *testing.T) {
		folder, url := t.TempDir(), server.Database(t, "")
		marked, key := filepath.Join(folder, "marked"), filepath.Join(folder, "key")
		for name, mode := range map[string]os.FileMode{marked: 0o600, key: 0o644} {
			if err := os.WriteFile(name, []byte("\xef\xbb\xbf*:*:*:*:s3cret-word\n"), mode); err != nil {
				t.Fatal(err)
			}
		}
		for parameter, want := range map[string]string{
			"passfile=" + folder + "/none": "none cannot be read", "passfile=" + marked: "byte order mark", "sslkey=" + key: "key (mode 0644) is open to group or world", "service=none": "service file",
		} {
			for _, command := range [][]string{with(append([]string{"run"}, r.service()...), "--journal-url", url+"&"+parameter), {"journal", "migrate", "--from", "sqlite:" + folder + "/none.db", "--to", url + "&" + parameter}} {
				code, _, errs := r.command(command...)
				if code == exitDone || !strings.Contains(errs, want) {
					t.Errorf("%s with %s: exit status %d: %s", command[0], parameter, code, errs)
				}
			}
		}
	})
}
