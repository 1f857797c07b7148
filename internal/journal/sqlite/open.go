package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/queue"
	"invoicebox-worker/internal/journal/steps"
)

// applicationID marks a journal's file in SQLite's header: "ibxw".
const applicationID = 0x69627877

// Options of a journal.
type Options struct {
	// Path of the database file. It is created, readable by its owner only, in an existing
	// folder. URLs and in-memory databases are refused.
	Path string
	// Planner decides what events lead to. It is required unless ReadOnly.
	Planner journal.Planner
	// Logger logs what no error reports; nil discards it.
	Logger *slog.Logger
	// ReadOnly opens an existing journal, also beside a worker. It can be read, and audit
	// entries and intents can be appended; every other change fails with
	// [journal.ErrReadOnly].
	ReadOnly bool
	// Recover opens a copy, or a journal whose recovery did not end. Otherwise these are
	// refused with [journal.ErrCopy].
	Recover bool
	// Now is the clock; nil is time.Now. While the journal is open only differences count,
	// so that setting the wall clock changes nothing.
	Now func() time.Time
	// Reserve is how many bytes of the disk are reserved for the ends of work in flight.
	// Below it no call can begin (Claim for calls, and BeginAttempt, fail with
	// [journal.ErrFull]); everything else is written as long as there is room. It should
	// hold two full receipts for each call in flight. 0 reserves nothing.
	Reserve int64
	// DiskFree returns how many bytes are free in a folder; nil asks the system. After an
	// error there is no reserve.
	DiskFree func(folder string) (int64, error)

	// Mark distinguishes a file from its copies; nil asks the file system. It is for tests
	// in which a copy replaces the file after a crash. With Mark, or with Now, the
	// machine's clock is not checked.
	Mark func(path string) string
	boot func() (boot string, micros int64) // of tests; nil is sinceBoot
	// checkRows is for tests: a cached row is read nevertheless, and a difference is an
	// error.
	checkRows bool
}

// A Journal is the durable store in one SQLite file. It implements [journal.Journal].
type Journal struct {
	*steps.Journal
	texts     steps.Texts // of queries
	path      string
	log       *slog.Logger
	clock     *clock
	identity  uuid.UUID
	origin    uuid.UUID
	lock      *os.File // nil beside a worker
	files     files    // the writer's, once the journal is open
	saved     bool     // the writer's: see save
	lacks     bool     // commits are missing in the file
	readers   *sql.DB
	reads     *statements
	space     *space
	recover   bool
	mark      func(path string) string
	boot      func() (boot string, micros int64)
	checkRows bool

	lease   relayLease
	queue   *queue.Queue[*request]
	scrubs  scrubState
	writer  *writer // nil beside a worker
	written chan struct{}

	closeOnce sync.Once
	closeErr  error
}

// A writer is the state that only the writer's goroutine uses.
type writer struct {
	conn *conn // nil while it has to be opened again
	tx   tx
	ids  ids
	// New shops begin above it: see journal.Journal.RaiseFloor.
	floor int64
	// Rows that are read often and never change.
	accounts map[string]int64
	names    map[int64]string
	ledgerID map[string]int64

	rowTexts rowTexts
	rows     *rowCache
	facts    map[int64]facts // of claimed operations
	seed     maphash.Seed
	invitees invitees

	ledgers      ledgers
	firstAttempt int64 // of this process
}

// Open opens or creates a journal. Its errors wrap [journal.ErrHeld], [journal.ErrNewer],
// [journal.ErrNotDurable], [journal.ErrCopy], fs.ErrNotExist or fs.ErrPermission, or
// describe what is wrong with the path or the file.
//
// Only one process can hold a journal. Opening it ends all leases of earlier processes:
// claimed operations become planned, sending ones become unknown, and those in stage
// Settle can be claimed at once.
func Open(ctx context.Context, o Options) (_ *Journal, err error) {
	boot := sinceBoot
	switch {
	case o.boot != nil:
		boot = o.boot
	case o.Mark != nil || o.Now != nil:
		boot = func() (string, int64) { return "", 0 }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Planner == nil && !o.ReadOnly {
		return nil, errors.New("journal: a planner is needed")
	}
	path, err := place(o.Path)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		path: path, log: o.Logger, clock: newClock(o.Now),
		written: make(chan struct{}),
		queue:   queue.New[*request](), scrubs: scrubState{running: make(chan struct{}, 1)}, space: newSpace(path, o),
		recover: o.Recover, mark: o.Mark, boot: boot, checkRows: o.checkRows,
	}
	j.texts.Of = steps.Query.SQLite
	j.Journal = steps.New(database{j}, false, o.Planner)
	if j.mark == nil {
		j.mark = fileMark
	}
	defer func() {
		if err != nil {
			_ = j.release() // only the first error matters
		}
	}()
	if !o.ReadOnly {
		if err := j.hold(); err != nil {
			return nil, explainOwner(path, err)
		}
	}
	if err := j.checkPermissions(!o.ReadOnly); err != nil {
		return nil, err
	}
	if err := checkFile(path, !o.ReadOnly); err != nil {
		return nil, explainOwner(path, err)
	}
	if o.ReadOnly {
		err = j.openBeside(ctx)
	} else {
		err = j.openHeld(ctx)
	}
	if err != nil {
		return nil, explain(path, err)
	}
	return j, nil
}

// place checks that the path can name a file on a disk of this machine.
func place(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("journal: no path given")
	case strings.HasPrefix(path, ":memory:") || strings.HasPrefix(path, "file:"):
		return "", fmt.Errorf("journal: %q is not a plain path: the journal has to outlive the process", path)
	case strings.Contains(path, "://"):
		return "", fmt.Errorf("journal: %q looks like a URL: the journal has to be a file on a disk of this machine", path)
	case strings.ContainsRune(path, 0):
		return "", errors.New("journal: the path contains a NUL byte")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	folder := filepath.Dir(path)
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("journal: the folder %s does not exist: %w", folder, fs.ErrNotExist)
	case err != nil:
		return "", fmt.Errorf("journal: %w", err)
	case !info.IsDir():
		return "", fmt.Errorf("journal: %s is not a folder", folder)
	}
	// A file has one lock, whichever name it is opened by.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return path, checkDisk(filepath.Dir(path))
}

// hold acquires the lock of the file.
func (j *Journal) hold() error {
	if info, err := os.Stat(filepath.Dir(j.path)); err == nil && info.Mode().Perm()&0o222 == 0 {
		return fmt.Errorf("journal: the folder of %s is read-only, and the journal needs files beside its own: %w", j.path, fs.ErrPermission)
	}
	f, err := os.OpenFile(j.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("journal: make the lock file: %w", err)
	}
	held, err := lockFile(f)
	if err == nil && !held {
		err = giveToOwner(f.Name(), j.path)
	}
	if err == nil && !held {
		j.lock = f
		return nil
	}
	_ = f.Close()
	if held {
		return fmt.Errorf("%w (%s)", journal.ErrHeld, j.path)
	}
	return fmt.Errorf("journal: lock %s.lock: %w", j.path, err)
}

// checkFile checks the file before SQLite opens it: SQLite opens a read-only file without
// an error, and creates a missing one.
func checkFile(path string, create bool) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		return createFile(path)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("journal: %s is not a regular file", path)
	}
	// The superuser could write it anyway, but the missing permission means that it
	// must not be written.
	if info.Mode().Perm()&0o222 == 0 {
		return fmt.Errorf("journal: %s is read-only: %w", path, fs.ErrPermission)
	}
	if !create {
		// Closing a file releases the locks that this process has on it: beside a worker
		// only SQLite itself may open it.
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // #nosec G304 -- the operator names the file
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer func() { _ = f.Close() }()
	const magic = "SQLite format 3\x00"
	head := make([]byte, 20) // of the hundred that each has
	switch n, err := f.ReadAt(head, 0); {
	case n == 0: // created, but the process died before it wrote to it
		return nil
	case n < len(head) || string(head[:len(magic)]) != magic:
		return fmt.Errorf("journal: %s is not a journal: not an SQLite file", path)
	case err != nil:
		return fmt.Errorf("journal: %w", err)
	}
	return checkLog(path, head[18] == 1)
}

func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator names the file
	if err != nil {
		return fmt.Errorf("journal: make the file: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("journal: make the file: %w", err)
	}
	return syncFolder(filepath.Dir(path))
}

// Identity is the journal's id. Only a recovery changes it.
func (j *Journal) Identity() uuid.UUID { return j.identity }

// Origin is the identity with which the journal began.
func (j *Journal) Origin() uuid.UUID { return j.origin }

// Close completes the accepted requests, moves the log into the database and releases the
// file. Later calls of any method fail with [journal.ErrClosed].
func (j *Journal) Close() error {
	j.closeOnce.Do(func() {
		j.queue.Close()
		if j.writer != nil {
			<-j.written
		}
		j.closeErr = j.release()
	})
	return j.closeErr
}

// release closes the open files.
func (j *Journal) release() error {
	var errs []error
	if j.reads != nil {
		errs = append(errs, j.reads.close())
	}
	if j.readers != nil {
		errs = append(errs, j.readers.Close())
	}
	if j.writer != nil && j.writer.conn != nil {
		c := j.writer.conn
		if _, err := c.one("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			errs = append(errs, fmt.Errorf("journal: checkpoint: %w", err))
		}
		errs = append(errs, c.close())
		j.writer.conn = nil
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
		j.lock = nil
	}
	return errors.Join(errs...)
}

var _ journal.Journal = (*Journal)(nil)
