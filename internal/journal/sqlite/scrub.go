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

// scrubState records how erased bytes were removed from the files. A rewrite contains nothing
// that was erased before it began. The log may contain it until it is emptied after that.
type scrubState struct {
	running   chan struct{} // held by the call that rewrites for all waiting ones
	begun     atomic.Int64  // the number of the last rewrite that began
	rewritten atomic.Int64  // the last one that succeeded
	emptied   atomic.Int64  // the last one after which the log was emptied
}

const (
	// emptyEvery is how often the log is tried while a reader has an older state open.
	emptyEvery = time.Second
	// emptyWait is for how many ms one try, and with it the writer, waits for readers.
	emptyWait = "100"
)

// Scrub rewrites the file and empties its log. SQLite leaves deleted data in unused pages,
// and copies of moved rows in used ones.
//
// Both steps run between two transactions of the writer. Concurrent calls share a rewrite.
// While a reader prevents the truncation of the log, the file is not rewritten again, and
// the writer executes other requests.
func (d database) Scrub(ctx context.Context) (bool, error) {
	s := &d.j.scrubs
	need := s.begun.Load() + 1
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
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
		if !errors.Is(err, errReaderOpen) {
			return true, err
		}
		if !logged {
			d.j.log.Warn("a reader prevents the truncation of the write-ahead log, which still contains erased data; retrying", "file", d.j.path+"-wal")
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
	// The writer's settings keep temporary tables in memory. This one is as large as the
	// journal, so it is written to the journal's disk.
	err := j.withSettings([]string{"busy_timeout=" + busyTimeout, "synchronous=FULL", "temp_store=FILE", "temp_store_directory=" + quoted(filepath.Dir(j.path))}, func(c *conn) error {
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

// errReaderOpen reports that a reader has an older state of the database open.
var errReaderOpen = errors.New("journal: a reader prevents the truncation of the write-ahead log")

func (j *Journal) emptyLog() error {
	number := j.scrubs.rewritten.Load()
	err := j.withSettings([]string{"busy_timeout=" + emptyWait}, func(c *conn) error {
		r, err := c.one("PRAGMA wal_checkpoint(TRUNCATE)")
		if err == nil && r.int(0) != 0 {
			err = errReaderOpen
		}
		return err
	})
	if err == nil {
		j.scrubs.emptied.Store(number)
	}
	return err
}

// withSettings runs f on a connection of its own with some settings.
func (j *Journal) withSettings(settings []string, f func(*conn) error) error {
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
