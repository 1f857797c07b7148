package move_test

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
)

func samePlace() string { return "the same" }

func sameFile(string) string { return "the same" }

// A filled is a journal on SQLite that a worker was killed with.
type filled struct {
	path  string
	clock *clock
	keys  *keyset.Set
	*filler
}

// newFilled fills a journal once; its images are what the tests move.
func newFilled(t *testing.T, seed uint64, rounds int) *filled {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := newClock()
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "worked.db"), Planner: journaltest.Plain, Now: c.now, Mark: sameFile})
	if err != nil {
		t.Fatal(err)
	}
	f := fill(t, j, c, keys, seed, rounds)
	// Something has been forgotten.
	if p, err := j.Prune(t.Context(), journal.Prune{What: journal.PruneResults, Limit: 5, Uptime: 24 * time.Hour}); err != nil || p.Rows == 0 {
		t.Fatalf("%+v %v", p, err)
	}
	// What the death of the process leaves; nobody opened it since.
	path := filepath.Join(dir, "filled.db")
	for _, suffix := range []string{"", "-wal"} {
		journaltest.CopyFile(t, filepath.Join(dir, "worked.db")+suffix, path+suffix)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// Rows that are there only while a journal is being recovered.
	db := lite(t, path)
	if _, err := db.ExecContext(t.Context(), `INSERT INTO announced (event, outbox, operation_uuid, causation, version) VALUES (x'01ff', 1, x'', 'e1', 2), (x'8000', 2, x'77', '', 0)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return &filled{path: path, clock: c, keys: keys, filler: f}
}

// own gives a test a clock of its own.
func (f *filled) own() *filled {
	g, work := *f, *f.filler
	g.clock = &clock{at: f.clock.now()}
	work.clock = g.clock
	g.filler = &work
	return &g
}

// image copies the file, so that each test has one of its own.
func (f *filled) image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	for _, suffix := range []string{"", "-wal"} {
		journaltest.CopyFile(t, f.path+suffix, path+suffix)
	}
	return path
}

func lite(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func server(t *testing.T) (*pgtest.Server, func(t *testing.T) string) {
	t.Helper()
	s := pgtest.Start(t)
	template := s.Database(t, "")
	target, err := postgres.OpenTarget(t.Context(), postgres.Options{URL: template})
	if err != nil {
		t.Fatal(err)
	}
	target.Close()
	return s, func(t *testing.T) string { return s.Database(t, "test_1") }
}

// name is that of a database, from its URL.
func name(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// sides wraps what a test wants to disturb.
type sides struct {
	source func(move.Source) move.Source
	target func(move.Target) move.Target
}

// run moves a journal, as the command would.
func (f *filled) run(ctx context.Context, path, address string, s sides, progress func(move.Progress)) (r move.Report, err error) {
	source, err := sqlite.OpenSource(ctx, sqlite.Options{Path: path, Now: f.clock.now, Mark: sameFile})
	if err != nil {
		return r, err
	}
	defer func() { _ = source.Close() }()
	target, err := postgres.OpenTarget(ctx, postgres.Options{URL: address, Now: f.clock.now})
	if err != nil {
		return r, err
	}
	defer target.Close()
	from, to := move.Source(source), move.Target(target)
	if s.source != nil {
		from = s.source(from)
	}
	if s.target != nil {
		to = s.target(to)
	}
	return move.Run(ctx, from, to, move.Options{From: path, Actor: "anna", Now: f.clock.now, Progress: progress})
}

func (f *filled) openSource(ctx context.Context, path string) (journal.Journal, error) {
	j, err := sqlite.Open(ctx, sqlite.Options{Path: path, Planner: journaltest.Plain, Now: f.clock.now, Mark: sameFile})
	if err != nil {
		return nil, err
	}
	return j, nil
}

func (f *filled) openTarget(ctx context.Context, address string) (journal.Journal, error) {
	j, err := postgres.Open(ctx, postgres.Options{URL: address, Planner: journaltest.Plain, Now: f.clock.now, Mark: samePlace})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// duplicate copies a journal that nobody holds.
func (f *filled) duplicate(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "journal.db")
	for _, suffix := range []string{"", "-wal"} {
		journaltest.CopyFile(t, path+suffix, to+suffix)
	}
	return to
}

// holdsJournal tells whether a worker can open a database and finds a journal there.
func (f *filled) holdsJournal(t *testing.T, address string) bool {
	t.Helper()
	db, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	holds := false
	if err := db.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'identity') AND NOT EXISTS (SELECT 1 FROM meta WHERE name = 'copying')").Scan(&holds); err != nil {
		t.Fatal(err)
	}
	return holds
}
