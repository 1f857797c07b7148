package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/pressly/goose/v3"
	sqlite3 "modernc.org/sqlite/lib"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/schema"
	"invoicebox-worker/internal/journal/steps"
)

// Settings of every connection. Readers may not write, and have a small cache: the
// system's page cache has the rest.
const (
	busyTimeout   = "5000" // ms; only commands beside the worker compete with it
	readersCount  = 4
	readerPragmas = "mode=rw&_pragma=busy_timeout(" + busyTimeout + ")&_pragma=query_only(1)&_pragma=cache_size(-1000)&_dqs=0"
)

var writerPragmas = []string{
	"busy_timeout=" + busyTimeout,
	"journal_mode=WAL",
	"synchronous=FULL",
	// On a small disk, a log that grows longer before its pages are copied could fill the
	// disk. Then no response could be saved.
	"wal_autocheckpoint=1000",
	"journal_size_limit=67108864",
	"cache_size=-16000",
	"temp_store=MEMORY",
	"trusted_schema=OFF",
}

// openHeld prepares a file that this process holds for work.
func (j *Journal) openHeld(ctx context.Context) error {
	c, err := j.connect()
	if err != nil {
		return err
	}
	j.writer = &writer{conn: c, rowTexts: rowTexts{make(rows.Statements)}, rows: newRowCache()}
	j.writer.tx.j, j.writer.tx.shops = j, make(map[int64]journal.ShopKey)
	if err := ownFile(c); err != nil {
		return err
	}
	if err := j.refuseMissing(c); err != nil {
		return err
	}
	if err := migrate(ctx, j.path); err != nil {
		return err
	}
	if err := j.writer.load(j); err != nil {
		return err
	}
	if err := j.openReaders(ctx); err != nil {
		return err
	}
	j.noteFiles()
	go j.write()
	return nil
}

// openBeside prepares a file that a worker may hold for reading.
func (j *Journal) openBeside(ctx context.Context) error {
	if err := j.openReaders(ctx); err != nil {
		return err
	}
	have, want, err := versions(ctx, j.readers)
	switch {
	case err != nil:
		return err
	case have > want:
		return journal.ErrNewer
	case have < want:
		return errors.New("the file is not a journal, or an older version of this program wrote it: start the worker once to migrate it")
	}
	// A journal that was moved is out of date.
	if raw, err := j.Fact(ctx, steps.Moved); err != nil || raw != nil {
		return errors.Join(err, movedError(raw))
	}
	if j.identity, j.origin, err = j.Identities(ctx); err != nil {
		return err
	}
	n, err := missing(j.path, func() (note, error) {
		raw, err := j.Fact(ctx, steps.Commits)
		commits, _ := strconv.ParseInt(string(raw), 10, 64) // none before the first is counted
		return note{j.identity, commits}, err
	})
	j.lacks = n > 0
	return err
}

func (j *Journal) openReaders(ctx context.Context) (err error) {
	if j.readers, err = sql.Open("sqlite", dsn(j.path, readerPragmas)); err != nil {
		return err
	}
	j.readers.SetMaxOpenConns(readersCount)
	j.readers.SetMaxIdleConns(readersCount)
	j.reads = &statements{db: j.readers, stmts: make(map[string]*sql.Stmt)}
	return j.readers.PingContext(ctx)
}

// connect opens the writer's connection and checks its settings.
func (j *Journal) connect() (_ *conn, err error) {
	c, err := dial(j.path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = c.close()
		}
	}()
	for _, p := range writerPragmas {
		if _, err := c.one("PRAGMA " + p); err != nil {
			return nil, err
		}
	}
	return c, durable(c)
}

// durable reads back the settings on which durability depends. If SQLite cannot apply a
// setting, it returns the old value and no error.
func durable(c *conn) error {
	for _, want := range []struct{ name, value, word string }{
		{"journal_mode", "wal", "WAL"}, {"synchronous", "2", "FULL"},
	} {
		got, err := c.pragma(want.name)
		if err != nil {
			return err
		}
		if got != want.value {
			return fmt.Errorf("%w: %s is %q, not %s", journal.ErrNotDurable, want.name, got, want.word)
		}
	}
	return nil
}

// ownFile refuses another program's database and marks an empty one as a journal.
func ownFile(c *conn) error {
	id, err := c.pragma("application_id")
	if err != nil {
		return err
	}
	if id == strconv.Itoa(applicationID) {
		return nil
	}
	r, err := c.one("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return err
	}
	if id != "0" || r.int(0) > 0 {
		return errors.New("it is another program's SQLite database, not a journal")
	}
	_, err = c.one("PRAGMA application_id=" + strconv.Itoa(applicationID))
	return err
}

// migrate migrates the tables. The caller holds the file.
func migrate(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", dsn(path, "mode=rw&_pragma=busy_timeout("+busyTimeout+")&_pragma=synchronous(2)&_dqs=0"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	have, want, err := versions(ctx, db)
	switch {
	case err != nil:
		return err
	case have > want:
		return journal.ErrNewer
	case have == want:
		return nil
	}
	p, err := provider(db)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the tables: %w", err)
	}
	return nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	return goose.NewProvider(goose.DialectSQLite3, db, schema.SQLite(), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

// versions returns the version of the tables and the newest one that this program knows.
// It only reads.
func versions(ctx context.Context, db *sql.DB) (have, want int64, err error) {
	p, err := provider(db)
	if err != nil {
		return 0, 0, err
	}
	sources := p.ListSources()
	want = sources[len(sources)-1].Version
	var there, unreleased bool
	if err := db.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE name = 'goose_db_version'), count(*) FILTER (WHERE name = 'audit_keeps' OR name = 'account' AND sql LIKE '%closed_since%')
		FROM sqlite_schema`).Scan(&there, &unreleased); err != nil || !there {
		return 0, want, err
	}
	if unreleased { // each build before the first release had the trigger or the column
		return 0, want, schema.ErrUnreleased
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied = 1").Scan(&have)
	return have, want, err
}

// explain adds to an error of SQLite what it means for the operator.
func explain(path string, err error) error {
	word := ""
	switch code(err) {
	case sqlite3.SQLITE_NOTADB:
		word = "not an SQLite file, or its first page is damaged: "
	case sqlite3.SQLITE_CORRUPT:
		word = "the file is damaged; restore it from a copy: "
	case sqlite3.SQLITE_FULL:
		word = "the disk is full: "
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		word = "the file or its folder is read-only: "
	case sqlite3.SQLITE_CANTOPEN:
		word = "the file, or one beside it, cannot be opened: "
	case sqlite3.SQLITE_BUSY:
		word = "another program holds the file: "
	}
	if code(err) != 0 {
		err = plainError{err}
	}
	return explainOwner(path, fmt.Errorf("journal: %s: %s%w", path, word, err))
}
