package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// spaceFor is how long a measurement of the disk is used.
const spaceFor = 250 * time.Millisecond

// A space is the disk below the file.
type space struct {
	folder  string
	reserve int64
	free    func(folder string) (int64, error)
	now     func() time.Time

	mu   sync.Mutex
	at   time.Time
	left int64
}

// look returns how many bytes are free, -1 if the system does not report it.
func (s *space) look() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if age := now.Sub(s.at); !s.at.IsZero() && age >= 0 && age < spaceFor {
		return s.left
	}
	left, err := s.free(s.folder)
	if err != nil {
		left = -1
	}
	s.left, s.at = left, now
	return left
}

// enough fails if only the reserve is left. Then no work may begin whose end has to be
// saved.
func (s *space) enough() error {
	if s.reserve <= 0 {
		return nil
	}
	if left := s.look(); left >= 0 && left < s.reserve {
		return fmt.Errorf("%w: %d bytes are free, %d are reserved for work in flight", journal.ErrFull, left, s.reserve)
	}
	return nil
}

// Free returns how many bytes are free on the disk of a journal, which need not exist yet;
// -1 if the system does not report it.
func Free(path string) int64 {
	left, err := diskFree(filepath.Dir(path))
	if err != nil {
		return -1
	}
	return left
}

// Capacity returns how much the journal holds and how much its disk can take.
func (j *Journal) Capacity(ctx context.Context) (journal.Capacity, error) {
	var r journal.Capacity
	err := j.read(ctx, `SELECT ((SELECT page_count FROM pragma_page_count()) - (SELECT freelist_count FROM pragma_freelist_count())) * (SELECT page_size FROM pragma_page_size()),
		`+steps.WaitingEvents, func(scan scanner) error { return scan(&r.Used, &r.Outbox) })
	if err != nil {
		return r, err
	}
	if log, err := os.Stat(j.path + "-wal"); err == nil {
		r.Used += log.Size()
	}
	r.Free = j.space.look()
	return r, nil
}

func newSpace(path string, o Options) *space {
	s := &space{folder: filepath.Dir(path), reserve: o.Reserve, free: o.DiskFree, now: o.Now}
	if s.free == nil {
		s.free = diskFree
	}
	return s
}

// A plainError removes SQLite's "not an error", which it adds if no statement failed.
type plainError struct{ err error }

func (e plainError) Error() string { return strings.ReplaceAll(e.err.Error(), ": not an error", "") }
func (e plainError) Unwrap() error { return e.err }

// named wraps an error of SQLite in the error of the contract.
func named(err error) error {
	if code(err) != 0 {
		err = plainError{err}
	}
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", journal.ErrFull, err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w: %w", journal.ErrDisk, err)
	}
	return err
}
