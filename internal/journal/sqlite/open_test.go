package sqlite

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/schema"
	"invoicebox-worker/internal/testutil/cleanenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	cleanenv.Use()
	goleak.VerifyTestMain(m)
}

func options(path string) Options { return Options{Path: path, Planner: journaltest.Plain} }

func mustOpen(t testing.TB, o Options) *Journal {
	t.Helper()
	j, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func TestFileIsItsOwners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	mustOpen(t, options(path))
	for _, name := range []string{path, path + ".lock", path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestPathsWithOddCharacters(t *testing.T) {
	for _, name := range []string{"a b.db", "a?b=c&d.db", "a%20b.db", "a#b.db", "журнал.db", "a'b\"c.db"} {
		dir := t.TempDir()
		j := mustOpen(t, options(filepath.Join(dir, name)))
		if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 2 || entries[0].Name() != name && entries[1].Name() != name {
			t.Errorf("%q made %v", name, entries)
		}
	}
}

func TestRefusedPaths(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	made := func(name string, after func(db *sql.DB) error) string {
		path := filepath.Join(dir, name)
		j := mustOpen(t, options(path))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(after(db), db.Close()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	exec := func(query string) func(*sql.DB) error {
		return func(db *sql.DB) error {
			_, err := db.Exec(query)
			return err
		}
	}
	readOnlyFolder := filepath.Join(dir, "ro")
	if err := os.Mkdir(readOnlyFolder, 0o500); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(exec("CREATE TABLE x (y)")(db), db.Close(), os.Chmod(foreign, 0o600)); err != nil {
		t.Fatal(err)
	}
	damaged := made("damaged.db", exec("PRAGMA journal_mode=DELETE"))
	raw, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(raw); i++ {
		raw[i] = 0x5a
	}
	if err := os.WriteFile(damaged, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		path string
		is   error
		says string
	}{
		"nothing":        {"", nil, "no path"},
		"memory":         {":memory:", nil, "outlive"},
		"memory url":     {"file::memory:?cache=shared", nil, "outlive"},
		"file url":       {"file:j.db?mode=memory", nil, "outlive"},
		"postgres":       {"postgres://db/journal", nil, "URL"},
		"http":           {"https://example.test/j.db", nil, "URL"},
		"NUL":            {"j\x00.db", nil, "NUL"},
		"missing folder": {filepath.Join(dir, "no", "j.db"), fs.ErrNotExist, "folder"},
		"file as folder": {filepath.Join(write("plain", "x", 0o600), "j.db"), nil, "not a folder"},
		"folder":         {dir, nil, "not a regular file"},
		"not SQLite":     {write("text", strings.Repeat("hello ", 1000), 0o600), nil, "not an SQLite file"},
		"short":          {write("short", "SQLite", 0o600), nil, "not an SQLite file"},
		"read-only":      {write("ro.db", "SQLite format 3\x00", 0o400), fs.ErrPermission, "read-only"},
		"ro folder":      {filepath.Join(readOnlyFolder, "j.db"), fs.ErrPermission, "read-only"},
		"foreign":        {foreign, nil, "another program"},
		"newer":          {made("newer.db", exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (900, 1)")), journal.ErrNewer, "newer"},
		"damaged":        {damaged, nil, "damaged"},
		"no identity":    {made("lost.db", exec("UPDATE meta SET value = x'00' WHERE name = 'identity'")), nil, "identity"},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := Open(t.Context(), options(x.path))
			if err == nil {
				_ = j.Close()
				t.Fatal("opened")
			}
			if x.is != nil && !errors.Is(err, x.is) {
				t.Errorf("error is %v, want %v", err, x.is)
			}
			if !strings.Contains(err.Error(), x.says) {
				t.Errorf("error is %q, which does not say %q", err, x.says)
			}
		})
	}
}

func TestPlannerIsNeeded(t *testing.T) {
	if j, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "j.db")}); err == nil {
		_ = j.Close()
		t.Fatal("opened without a planner")
	}
}

// A file that a process made and died before filling is begun anew.
// A file of a build from before the first release is refused as such and not
// changed.
func TestUnreleasedFile(t *testing.T) {
	for name, marks := range map[string][]string{
		"trigger": {"CREATE TABLE audit (id INTEGER PRIMARY KEY)", "CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"},
		"column":  {"CREATE TABLE account (id INTEGER PRIMARY KEY, closed_since INTEGER)"},
	} {
		t.Run(name, func(t *testing.T) { refusesUnreleased(t, marks) })
	}
}

func refusesUnreleased(t *testing.T, marks []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "j.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range append([]string{
		"PRAGMA application_id=" + strconv.Itoa(applicationID), "PRAGMA journal_mode=WAL",
		"CREATE TABLE goose_db_version (version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL)",
		"INSERT INTO goose_db_version VALUES (0, 1), (1, 1)",
	}, marks...) {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(query, err)
		}
	}
	for _, readOnly := range []bool{false, true} {
		o := options(path)
		o.ReadOnly = readOnly
		if j, err := Open(t.Context(), o); !errors.Is(err, schema.ErrUnreleased) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, %v", j, err)
		}
	}
	tables := 0
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_schema WHERE type = 'table'").Scan(&tables); err != nil || tables != 2 {
		t.Errorf("%d tables, %v", tables, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, options(path))
}

func TestHeldTwice(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "j.db")
	first := mustOpen(t, options(path))
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		if _, err := Open(t.Context(), options(p)); !errors.Is(err, journal.ErrHeld) {
			t.Fatalf("error is %v", err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, options(path))
}

func TestNotDurable(t *testing.T) {
	c, err := dial(filepath.Join(t.TempDir(), "j.db"))
	if err == nil {
		_ = c.close()
		t.Fatal("a connection made a file by itself")
	}
	path := filepath.Join(t.TempDir(), "j.db")
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	if c, err = dial(path); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.close() }()
	for _, x := range []struct {
		set string
		ok  bool
	}{
		{"journal_mode=DELETE", false}, {"journal_mode=MEMORY", false}, {"journal_mode=WAL", true}, {"synchronous=NORMAL", false}, {"synchronous=OFF", false}, {"synchronous=FULL", true},
	} {
		if _, err := c.one("PRAGMA " + x.set); err != nil {
			t.Fatal(err)
		}
		if err := durable(c); (err == nil) != x.ok || !x.ok && !errors.Is(err, journal.ErrNotDurable) {
			t.Errorf("after %s: %v", x.set, err)
		}
	}
}

func TestBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	beside := Options{Path: path, ReadOnly: true}
	if _, err := Open(t.Context(), beside); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error is %v", err)
	}
	worker := mustOpen(t, options(path))
	if err := worker.EnsureAccount(t.Context(), "a", "p"); err != nil {
		t.Fatal(err)
	}
	j := mustOpen(t, beside)
	if j.Identity() != worker.Identity() {
		t.Error("another identity")
	}
	as, err := j.Accounts(t.Context())
	if err != nil || len(as) != 1 {
		t.Fatal(as, err)
	}
	if err := j.AppendAudit(t.Context(), journal.AuditEntry{Actor: "me", Act: "resolve", Subject: "ref"}); err != nil {
		t.Fatal(err)
	}
	es, err := worker.Audit(t.Context(), 0, 10)
	if err != nil || len(es) != 1 || es[0].Act != "resolve" {
		t.Fatal(es, err)
	}
	ctx := t.Context()
	_, claimErr := j.Claim(ctx, journal.ClaimRequest{Account: "a", Kind: journal.Invite, Stage: journal.Call, Limit: 1, Lease: time.Minute})
	_, _, freeErr := j.AvailablePermits(ctx, journal.Permit{RateLimit: "x", Limit: 1, Window: 1})
	_, ingestErr := j.Ingest(ctx, journal.Batch{})
	for name, err := range map[string]error{
		"account": j.EnsureAccount(ctx, "b", "p"), "circuit": j.SetCircuit(ctx, "a", journal.Circuit{State: journal.CircuitActive}, nil), "claim": claimErr, "free": freeErr,
		"ingest": ingestErr, "keyset": j.SetKeysetCheck(ctx, []byte("x")), "mark": j.MarkPublished(ctx, []journal.Published{{}}),
	} {
		if !errors.Is(err, journal.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := worker.Close(); err != nil {
		t.Fatal(err)
	}
	// Also when no worker runs.
	if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "again"}); err != nil {
		t.Fatal(err)
	}
	if es, err = j.Audit(t.Context(), 0, 10); err != nil || len(es) != 2 {
		t.Fatal(es, err)
	}
}

func TestAuditIsAppendOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	j := mustOpen(t, options(path))
	if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "x"}); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"UPDATE audit SET act = 'y'", "DELETE FROM audit"} {
		if err := j.inWriter(t.Context(), func(t *tx) error { _, err := t.exec(query); return err }); err == nil {
			t.Errorf("%s was carried out", query)
		}
	}
}
