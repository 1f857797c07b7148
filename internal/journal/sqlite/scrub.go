package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"invoicebox-worker/internal/journal"
)

// scrubs are what has been done to remove erased bytes from the files. A rewrite contains
// nothing that was erased before it began; the log may, until it is emptied after that.
type scrubs struct {
	turn      chan struct{} // held by the call that works for those that wait
	begun     atomic.Int64  // rewrites; a number of them is that of the last one
	rewritten atomic.Int64  // the last one that succeeded
	emptied   atomic.Int64  // the last one after which the log was emptied
}

const (
	// emptyEvery is how often the log is tried while somebody reads an older state.
	emptyEvery = time.Second
	// emptyWait is how long one try, and with it the writer, waits for readers, in ms.
	emptyWait = "100"
)

// Scrub writes the file anew and empties its log. SQLite leaves what was deleted in pages
// that are not used any more, and copies of moved rows in those that are.
//
// Both are done between two transactions of the writer. Concurrent calls share a rewrite.
// While a reader keeps the log from being emptied, nothing is rewritten and the writer's
// other work goes on.
func (d database) Scrub(ctx context.Context) (bool, error) {
	s := &d.j.scrubs
	need := s.begun.Load() + 1
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return true, ctx.Err()
	}
	if s.rewritten.Load() < need {
		if err := d.j.between(ctx, d.j.rewrite); err != nil {
			return true, err
		}
	}
	for logged := false; s.emptied.Load() < need; logged = true {
		err := d.j.between(ctx, d.j.emptyLog)
		if err == nil {
			continue
		}
		if !errors.Is(err, errRead) {
			return true, err
		}
		if !logged {
			d.j.log.Warn("erased data stays in the journal's log until a reader has ended; trying again", "file", d.j.path+"-wal")
		}
		select {
		case <-time.After(emptyEvery):
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	return true, nil
}

// between runs f between two transactions of the writer.
func (j *Journal) between(ctx context.Context, f func() error) error {
	return j.await(ctx, &request{alone: f, done: make(chan error, 1)}, 0)
}

func (j *Journal) rewrite() error {
	number := j.scrubs.begun.Add(1)
	// The writer's settings keep temporary tables in memory, and this one is as large as
	// the journal. It belongs on the journal's disk.
	err := j.apart([]string{"busy_timeout=" + busyTimeout, "synchronous=FULL", "temp_store=FILE", "temp_store_directory=" + quoted(filepath.Dir(j.path))}, func(c *conn) error {
		defer func() { _, _ = c.one("PRAGMA temp_store_directory=''") }()
		pages, err := c.one("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
		if err != nil {
			return err
		}
		// The new file, and the log with its pages.
		if need, free := 2*pages.int(0)+j.space.reserve, j.space.look(); free >= 0 && free < need {
			return fmt.Errorf("%w: rewriting the file needs %d bytes, and %d are free", journal.ErrFull, need, free)
		}
		_, err = c.exec("VACUUM")
		return err
	})
	if err != nil {
		return fmt.Errorf("journal: rewrite the file: %w", err)
	}
	j.scrubs.rewritten.Store(number)
	return nil
}

// errRead says that somebody reads an older state of the database.
var errRead = errors.New("journal: the log could not be emptied, because somebody reads it")

func (j *Journal) emptyLog() error {
	number := j.scrubs.rewritten.Load()
	err := j.apart([]string{"busy_timeout=" + emptyWait}, func(c *conn) error {
		r, err := c.one("PRAGMA wal_checkpoint(TRUNCATE)")
		if err == nil && r.int(0) != 0 {
			err = errRead
		}
		return err
	})
	if err == nil {
		j.scrubs.emptied.Store(number)
	}
	return err
}

// apart runs f on a connection of its own with some settings.
func (j *Journal) apart(settings []string, f func(*conn) error) error {
	c, err := dial(j.path)
	if err != nil {
		return named(err)
	}
	defer func() { _ = c.close() }()
	for _, p := range settings {
		if _, err := c.one("PRAGMA " + p); err != nil {
			return named(err)
		}
	}
	return named(f(c))
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
