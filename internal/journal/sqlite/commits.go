package sqlite

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// Every commit is counted in the database and then, without a sync, in the lock file. So
// the count in the lock file is higher only if commits are missing in the database. Then
// the log was removed after a crash, or an older copy replaced the database.

// These statements count the transaction that they are in. One statement with RETURNING
// would create a table for the result, which takes longer than all of them.
const (
	countCommit = "UPDATE meta SET value = CAST(CAST(CAST(CAST(value AS TEXT) AS INTEGER) + 1 AS TEXT) AS BLOB) WHERE name = 'commits'"
	firstCommit = "INSERT INTO meta (name, value) VALUES ('commits', CAST('1' AS BLOB))"
	lastCommit  = "SELECT value FROM meta WHERE name = 'commits'"
)

// count counts the commit that follows.
func (j *Journal) count(c *conn) (int64, error) {
	if j.lacks {
		return 0, nil // the difference is evidence until the recovery has ended
	}
	n, err := c.exec(countCommit)
	if err == nil && n == 0 {
		_, err = c.exec(firstCommit)
	}
	if err != nil {
		return 0, err
	}
	r, err := c.one(lastCommit)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(r.blob(0)), 10, 64)
}

// A note is the content of a lock file.
type note struct {
	identity uuid.UUID
	commits  int64
}

func (n note) bytes() []byte { return fmt.Appendf(nil, "%s %020d\n", n.identity, n.commits) }

// readNote reads a lock file; the zero note if it contains none.
func readNote(path string) note {
	raw, err := os.ReadFile(path + ".lock") // #nosec G304 -- beside the journal
	if err != nil {
		return note{}
	}
	id, number, _ := strings.Cut(strings.TrimSpace(string(raw)), " ")
	identity, errID := uuid.Parse(id)
	commits, errNumber := strconv.ParseInt(number, 10, 64)
	if errID != nil || errNumber != nil {
		return note{}
	}
	return note{identity, commits}
}

// committed writes a note of a commit. If the write fails, the next start checks the
// database, without further harm.
func (j *Journal) committed(commits int64) {
	if j.lacks {
		return
	}
	n := note{j.identity, commits}
	if j.lock != nil {
		_, _ = j.lock.WriteAt(n.bytes(), 0)
		return
	}
	// A process beside this one may have written a later note.
	if was := readNote(j.path); was.identity != n.identity || was.commits >= commits {
		return
	}
	if f, err := os.OpenFile(j.path+".lock", os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteAt(n.bytes(), 0)
		_ = f.Close()
	}
}

// missing returns how many commits are not in the database; read returns those that it
// has. The note is read first, because others may commit meanwhile.
func missing(path string, read func() (note, error)) (int64, error) {
	const looks = 3 // a note that is being written may be read half
	for range looks {
		noted := readNote(path)
		has, err := read()
		if err != nil || noted.identity != has.identity || noted.commits <= has.commits {
			return 0, err
		}
		if noted == readNote(path) {
			return noted.commits - has.commits, nil
		}
	}
	return 0, nil
}

// refuseMissing refuses a file with missing commits before anything in it is changed, so
// that the operator can still put the log back.
func (j *Journal) refuseMissing(c *conn) error {
	n, err := missing(j.path, func() (has note, err error) {
		there, err := c.one("SELECT 1 FROM sqlite_schema WHERE name = 'meta'")
		if err != nil || there == nil {
			return note{}, err
		}
		if has.commits, err = numberFact(c, "commits"); err != nil {
			return has, err
		}
		r, err := c.one("SELECT value FROM meta WHERE name = 'identity'")
		if err == nil && r != nil {
			has.identity, _ = uuid.FromBytes(r.blob(0)) // the caller that needs it reports a damaged one
		}
		return has, err
	})
	if err != nil || n == 0 {
		return err
	}
	if j.lacks = true; j.recover {
		return nil
	}
	return lost(j.path, n)
}

func lost(path string, n int64) error {
	return fmt.Errorf("%w: its last %d transactions are missing, because %s-wal was removed after a crash or an older copy was put in its place; put the original file back if it still exists", journal.ErrCopy, n, path)
}
