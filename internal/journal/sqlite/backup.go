package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
	"invoicebox-worker/internal/journal/stored"
)

// backupPages are copied at a time, so that a context can end the copy.
const backupPages = 4096

// errNoRoom reports that the disk of a copy is full. The journal's own disk may not be.
var errNoRoom = errors.New("there is no room left on the disk of the copy; make room, or name a file on another one")

// A Copy describes a finished copy.
type Copy struct {
	Path       string
	At         time.Time
	Bytes      int64
	Positions  []journal.Position
	Operations map[journal.StatKey]int64 // open ones and those in attention
	Outbox     int64                     // events that wait to be published
}

// Backup copies the journal to a new file, also beside a worker. The copy is the state of
// one moment. It is marked as a copy, so that no worker opens it as the journal. It gets
// its name only after it was checked and is durable. An existing file is not changed:
// fs.ErrExist.
//
// The worker can write meanwhile. The copy reads in one read transaction, so the log grows
// by everything that is written during the copy.
func (j *Journal) Backup(ctx context.Context, path string) (_ Copy, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return Copy{}, fmt.Errorf("journal: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return Copy{}, fmt.Errorf("journal: %s: %w", path, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.partial")
	if err != nil {
		return Copy{}, fmt.Errorf("journal: make the copy: %w", err)
	}
	partial := f.Name()
	defer func() {
		for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
			if e := os.Remove(partial + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}()
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return Copy{}, fmt.Errorf("journal: make the copy: %w", err)
	}
	switch err := j.copyTo(ctx, partial); {
	case code(err) == sqlite3.SQLITE_FULL:
		return Copy{}, fmt.Errorf("journal: copy to %s: %w", path, errNoRoom)
	case err != nil:
		return Copy{}, fmt.Errorf("journal: copy to %s: %w", path, plainError{err})
	}
	c, err := verifyCopy(ctx, partial)
	if err != nil {
		return Copy{}, fmt.Errorf("journal: the copy failed its check: %w", err)
	}
	c.Path = path
	if err := nameFile(partial, path); err != nil {
		return Copy{}, fmt.Errorf("journal: name the copy: %w", err)
	}
	return c, nil
}

// copyTo copies pages inside one read transaction. Without it every commit of the worker
// would restart the copy.
func (j *Journal) copyTo(ctx context.Context, path string) (err error) {
	src, err := dial(j.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	for _, p := range []string{"busy_timeout=" + busyTimeout, "query_only=1"} {
		if _, err := src.one("PRAGMA " + p); err != nil {
			return err
		}
	}
	if _, err := src.exec("BEGIN"); err != nil {
		return err
	}
	if _, err := src.one("SELECT count(*) FROM meta"); err != nil {
		return err
	}
	dst, err := dial(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.close()) }()
	if err := src.copyTo(dst, backupPages, ctx.Err); err != nil {
		return err
	}
	// One file, without a log beside it.
	for _, p := range []string{"synchronous=FULL", "journal_mode=DELETE"} {
		if _, err := dst.one("PRAGMA " + p); err != nil {
			return err
		}
	}
	if _, err := dst.exec(steps.SetFact, "copied", stored.PackNumber(j.clock.Now())); err != nil {
		return err
	}
	// A recovery that has not ended is not continued in the copy: the recovery of the copy
	// examines everything again.
	_, err = dst.exec("DELETE FROM meta WHERE name = 'recovering'")
	return err
}

// verifyCopy checks every page and returns what the copy contains.
func verifyCopy(ctx context.Context, path string) (c Copy, err error) {
	db, err := dial(path)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if err := ctx.Err(); err != nil {
		return c, err
	}
	r, err := db.one("PRAGMA integrity_check(1)")
	if err != nil {
		return c, err
	}
	if r == nil || r.text(0) != "ok" {
		return c, errors.New("the integrity check finds faults in it")
	}
	at, err := numberFact(db, "copied")
	if err != nil {
		return c, err
	}
	c.At, c.Operations = time.UnixMicro(at).UTC(), map[journal.StatKey]int64{}
	if err := db.each("SELECT t.name, p.part, p.next_offset FROM position p JOIN topic t ON t.id = p.topic ORDER BY t.name, p.part", nil, func(r row) error {
		c.Positions = append(c.Positions, journal.Position{Topic: r.text(0), Partition: int(r.int(1)), Next: r.int(2)})
		return nil
	}); err != nil {
		return c, err
	}
	if err := db.each(`SELECT a.name, o.kind, o.state, count(*) FROM operation o JOIN account a ON a.id = o.account
		WHERE o.lane IS NOT NULL OR o.state = 20 GROUP BY 1, 2, 3`, nil, func(r row) error {
		c.Operations[journal.StatKey{Account: r.text(0), Kind: journal.Kind(r.int(1)), State: journal.State(r.int(2))}] = r.int(3) // #nosec G115 -- our own numbers
		return nil
	}); err != nil {
		return c, err
	}
	if r, err = db.one("SELECT " + steps.WaitingEvents); err != nil {
		return c, err
	}
	c.Outbox = r.int(0)
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	c.Bytes = info.Size()
	return c, nil
}

// nameFile gives a finished file its name, never that of an existing file, and makes file
// and name durable.
func nameFile(partial, path string) error {
	f, err := os.OpenFile(partial, os.O_RDWR, 0) // #nosec G304 -- just made
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(partial, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}
