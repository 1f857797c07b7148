package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/schema"
	"invoicebox-worker/internal/testutil/pgtest"
)

// later are this program's migrations with more behind them.
func later(t testing.TB, more ...string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	own, err := fs.Glob(schema.PostgreSQL(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range own {
		text, err := fs.ReadFile(schema.PostgreSQL(), name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	for i, sql := range more {
		n := len(own) + i + 1
		files[fmt.Sprintf("%04d_later.sql", n)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql)}
	}
	return files
}

func ownVersion(t testing.TB) int64 {
	t.Helper()
	own, err := fs.Glob(schema.PostgreSQL(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(own))
}

func (b *bed) tables(j *Journal) (s tableVersion) {
	b.Helper()
	b.ok(j.read(b.Context(), "SELECT (SELECT max(version_id) FROM goose_db_version), (SELECT max(readable_by) FROM schema_version)", func(r row) error {
		s = tableVersion{r.int(0), r.int(1)}
		return nil
	}))
	return s
}

// work takes operations to their ends until ctx does, and counts them.
func work(ctx context.Context, j *Journal) (done int, err error) {
	for ctx.Err() == nil {
		due, err := j.Claim(context.Background(), journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Call, Limit: 3, Lease: time.Minute})
		if err != nil {
			return done, err
		}
		for _, o := range due {
			id, err := j.BeginAttempt(context.Background(), journal.AttemptStart{Ref: o.Ref, Attempt: o.Attempts + 1, SendBy: time.Second, Deadline: time.Second})
			if err == nil {
				err = j.Apply(context.Background(), journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: &journal.AttemptEnd{Answered: true, At: time.Now()}})
			}
			if err != nil {
				return done, err
			}
			done++
		}
		if len(due) == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	return done, nil
}

// An old program and a new one work beside each other after a migration that
// only adds, and the old one can begin again; after one that takes away it is
// refused, and what still runs of it makes no step more.
func TestVersionsBesideEachOther(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	n := ownVersion(t)
	expand := fmt.Sprintf("ALTER TABLE shop ADD COLUMN note TEXT NOT NULL DEFAULT '';\nINSERT INTO schema_version VALUES (%d, %d);", n+1, n)
	contract := fmt.Sprintf("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE;\nALTER TABLE shop DROP COLUMN note;\nINSERT INTO schema_version VALUES (%d, %d);", n+2, n+1)
	with := func(more ...string) (*Journal, error) {
		j, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain, migrations: later(t, more...)})
		if err == nil {
			t.Cleanup(func() { _ = j.Close() })
		}
		return j, err
	}
	must := func(j *Journal, err error) *Journal {
		t.Helper()
		b.ok(err)
		return j
	}
	old := b.open()
	if s := b.tables(old); s.version != n || s.readableBy > n {
		t.Fatalf("the tables are %+v", s)
	}
	b.codes(old, 600)

	// Under load, two new ones at the same moment.
	ctx, stop := context.WithCancel(t.Context())
	type end struct {
		done int
		err  error
	}
	ends := make(chan end, 8)
	run := func(j *Journal) {
		go func() {
			done, err := work(ctx, j)
			ends <- end{done, err}
		}()
	}
	run(old)
	newer := make([]*Journal, 2)
	var all sync.WaitGroup
	for i := range newer {
		all.Go(func() {
			var err error
			if newer[i], err = with(expand); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		stop()
		return
	}
	if s := b.tables(old); s != (tableVersion{n + 1, n}) {
		t.Errorf("the tables are %+v", s)
	}
	restarted := b.open()
	for _, j := range []*Journal{newer[0], newer[1], restarted} {
		b.codes(j, 100)
		run(j)
	}
	b.eventually("not all is done", func() bool {
		s, err := old.Stats(t.Context())
		b.ok(err)
		return len(s.Operations) == 0
	})
	stop()
	sum := 0
	for range 4 {
		e := <-ends
		b.ok(e.err)
		sum += e.done
	}
	if sum != 900 {
		t.Errorf("%d operations were done, want 900", sum)
	}
	if _, err := old.AcquireLease(t.Context()); err != nil {
		t.Errorf("the old one cannot publish: %v", err)
	}
	b.ok(old.ReleaseLease(t.Context()))

	// What takes away ends the old program.
	b.codes(old, 3)
	newest := must(with(expand, contract))
	if s := b.tables(newest); s != (tableVersion{n + 2, n + 1}) {
		t.Errorf("the tables are %+v", s)
	}
	before, err := newest.Due(t.Context())
	b.ok(err)
	if _, err := old.Claim(t.Context(), journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Call, Limit: 3, Lease: time.Minute}); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("the old one claims: %v", err)
	}
	if _, err := old.AcquireLease(t.Context()); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("the old one publishes: %v", err)
	}
	if _, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain}); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("the old one begins: %v", err)
	}
	if _, err := Open(t.Context(), Options{URL: b.url, ReadOnly: true}); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("a command of the old one begins: %v", err)
	}
	after, err := newest.Due(t.Context())
	if b.ok(err); !slices.Equal(before, after) {
		t.Errorf("due is %+v, was %+v", after, before)
	}
	// The one between is new enough: it goes on, and can begin again.
	if _, err := newer[0].AcquireLease(t.Context()); err != nil {
		t.Errorf("the one between cannot publish: %v", err)
	}
	got := b.claim(newer[0], journal.Call, 1, time.Minute)
	got = append(got, b.claim(newest, journal.Call, 1, time.Minute)...)
	if got = append(got, b.claim(must(with(expand)), journal.Call, 1, time.Minute)...); len(got) != 3 {
		t.Errorf("claimed %+v", got)
	}
}

// A migration that needs a table that a long transaction holds gives way: workers
// behind it wait for its lock_timeout, and it comes through in the end.
func TestAMigrationGivesWay(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	n := ownVersion(t)
	old := b.open()
	b.codes(old, 1)
	tx, err := old.readers.Begin(t.Context())
	b.ok(err)
	_, err = tx.Exec(t.Context(), "SELECT FROM operation LIMIT 1")
	b.ok(err)
	opened := make(chan error, 1)
	go func() {
		j, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain, migrations: later(t,
			fmt.Sprintf("ALTER TABLE operation ADD COLUMN note TEXT NOT NULL DEFAULT '';\nINSERT INTO schema_version VALUES (%d, %d);", n+1, n))})
		if err == nil {
			err = j.Close()
		}
		opened <- err
	}()
	b.eventually("the migration does not wait", func() bool {
		waits := false
		b.ok(old.readers.QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'operation'::regclass AND NOT granted").Scan(&waits))
		return waits
	})
	began := time.Now()
	b.claim(old, journal.Call, 1, time.Minute)
	took := time.Since(began)
	t.Logf("a claim behind the migration took %v", took)
	if took > 15*time.Second {
		t.Errorf("a claim behind the migration took %v", took)
	}
	select {
	case err := <-opened:
		t.Fatalf("the migration did not wait: %v", err)
	default:
	}
	b.ok(tx.Rollback(t.Context()))
	b.ok(<-opened)
}

// A database of a build from before the first release is refused as such and not
// changed.
func TestUnreleasedDatabase(t *testing.T) {
	server := pgtest.Start(t)
	for name, mark := range map[string]string{
		"table":  "CREATE TABLE relay_turn (number BIGINT PRIMARY KEY, until BIGINT NOT NULL)",
		"column": "CREATE TABLE account (id BIGINT PRIMARY KEY, closed_since BIGINT)",
	} {
		t.Run(name, func(t *testing.T) { refusesUnreleased(t, newBed(t, server), mark) })
	}
}

func refusesUnreleased(t *testing.T, b *bed, mark string) {
	t.Helper()
	made := "CREATE TABLE goose_db_version (id INT, version_id BIGINT, is_applied BOOLEAN); INSERT INTO goose_db_version VALUES (1, 1, TRUE); " + mark
	conn, err := pgx.Connect(t.Context(), b.url)
	b.ok(err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), made)
	b.ok(err)
	for _, readOnly := range []bool{false, true} {
		if j, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain, ReadOnly: readOnly}); !errors.Is(err, schema.ErrUnreleased) {
			t.Errorf("%v, %v", j, err)
		}
	}
	tables := 0
	if b.ok(conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'").Scan(&tables)); tables != 2 {
		t.Errorf("%d tables", tables)
	}
}

// Every migration says who can work with what it leaves.
func TestMigrationsSayWhoCanWorkWithThem(t *testing.T) {
	b := newBed(t, pgtest.Start(t))
	j := b.open()
	var versions, said []int64
	last := int64(0)
	b.ok(j.read(t.Context(), "SELECT version_id FROM goose_db_version WHERE version_id > 0 ORDER BY 1", func(r row) error {
		versions = append(versions, r.int(0))
		return nil
	}))
	b.ok(j.read(t.Context(), "SELECT version, readable_by FROM schema_version ORDER BY 1", func(r row) error {
		if r.int(1) < last {
			t.Errorf("version %d can be read by %d, the one before it by %d", r.int(0), r.int(1), last)
		}
		last = r.int(1)
		said = append(said, r.int(0))
		return nil
	}))
	if !slices.Equal(versions, said) {
		t.Errorf("versions %v, said of %v", versions, said)
	}
}

// What a database says decides, row by row.
func TestWorksWith(t *testing.T) {
	for _, x := range []struct {
		tables tableVersion
		knows  int64
		works  bool
	}{
		{tableVersion{}, 1, true},
		{tableVersion{1, 1}, 1, true},
		{tableVersion{1, 1}, 2, true},
		{tableVersion{2, 1}, 1, true},
		{tableVersion{3, 1}, 1, true},
		{tableVersion{3, 2}, 1, false},
		{tableVersion{3, 2}, 2, true},
		{tableVersion{2, 2}, 1, false},
		{tableVersion{2, 0}, 1, false}, // it does not say
	} {
		if got := x.tables.works(x.knows); got != x.works {
			t.Errorf("%+v for a program of %d: %v", x.tables, x.knows, got)
		}
	}
}
