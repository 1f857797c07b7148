package sqlite

import (
	"fmt"
	"os"

	"invoicebox-worker/internal/journal"
)

// files are those of an open journal, by name. A file that was moved or removed stays
// open: writes to it succeed, but the next start does not find them.
type files map[string]os.FileInfo

// noteFiles records the files, which all exist after the first write.
func (j *Journal) noteFiles() {
	found := make(files)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(j.path + suffix); err == nil {
			found[j.path+suffix] = info
		}
	}
	if j.lock != nil {
		if info, err := j.lock.Stat(); err == nil {
			found[j.path+".lock"] = info
		}
	}
	j.files = found
}

// checkInPlace fails if another file, or none, has the name of a file of the journal. The
// writer calls it before each transaction.
func (j *Journal) checkInPlace() error {
	for name, was := range j.files {
		is, err := os.Stat(name)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %s is missing", journal.ErrReplaced, name)
		case !os.SameFile(was, is):
			return fmt.Errorf("%w: %s is another file", journal.ErrReplaced, name)
		}
	}
	return nil
}

// save moves the log into the database if only the log, or a file that belongs to it, is
// not in its place. The next start then finds everything that was committed.
func (j *Journal) save() {
	if j.writer.conn == nil || j.saved {
		return
	}
	if is, err := os.Stat(j.path); err != nil || !os.SameFile(j.files[j.path], is) {
		return
	}
	r, err := j.writer.conn.one("PRAGMA wal_checkpoint(FULL)")
	if j.saved = err == nil && r.int(0) == 0; j.saved {
		j.log.Warn("a file beside the journal was moved, removed or replaced; its content was written into the journal", "path", j.path)
	}
}
