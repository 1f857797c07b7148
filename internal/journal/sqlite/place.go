package sqlite

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/steps"
	"invoicebox-worker/internal/journal/stored"
)

// loadMarks reads the file's own records and returns since when its history is known, 0 if
// all of it is. Only its place shows that a file was copied or moved by other means than
// Backup. Nothing else distinguishes it from the original, so the worker counts the
// requests that may have been sent.
func (w *writer) loadMarks(j *Journal, now int64) (unknown int64, err error) {
	c := w.conn
	if !j.recover {
		r, err := c.one("SELECT 1 FROM meta WHERE name IN ('copied', 'recovering')")
		if err != nil {
			return 0, err
		}
		if r != nil {
			return 0, journal.ErrCopy
		}
		if err := refuseMoved(c); err != nil {
			return 0, err
		}
	}
	// A worker that opens the file makes the copied rows out of date.
	if _, err := c.exec("DELETE FROM meta WHERE name = ?", move.Moving); err != nil {
		return 0, err
	}
	if unknown, err = numberFact(c, "history"); err != nil {
		return 0, err
	}
	unknown = min(unknown, now)
	switch ahead, err := w.setForward(j); {
	case err != nil:
		return 0, err
	case ahead:
		j.log.Warn("the machine's clock was set forward since the last run, so earlier requests seem older than they are; sending no request for one window and the slack")
		unknown = now
		if _, err := c.exec(steps.SetFact, "history", stored.PackNumber(now)); err != nil {
			return 0, err
		}
	}
	place := []byte(j.mark(j.path))
	was, err := c.one("SELECT value FROM meta WHERE name = 'place'")
	if err != nil || was != nil && string(was.blob(0)) == string(place) {
		return unknown, err
	}
	if was != nil {
		j.log.Warn("the journal's file was moved or copied, and later requests are unknown; sending no request for one window and the slack. "+
			"If the file is older than the last run, stop the worker at once and run `journal recover`", "path", j.path)
		unknown = now
		if _, err := c.exec(steps.SetFact, "history", stored.PackNumber(now)); err != nil {
			return 0, err
		}
	}
	_, err = c.exec(steps.SetFact, "place", place)
	return unknown, err
}

// setTolerance is by how much two readings of two clocks may differ.
const setTolerance = 100 * time.Millisecond

// setForward reports whether the wall clock was set forward since the previous opening. It
// compares it with a clock that cannot be set, unless the machine was restarted.
func (w *writer) setForward(j *Journal) (bool, error) {
	boot, since := j.boot()
	if boot == "" {
		return false, nil
	}
	offset := j.clock.Now() - since
	was, err := w.conn.one("SELECT value FROM meta WHERE name = 'clock'")
	if err != nil {
		return false, err
	}
	ahead := false
	if was != nil {
		before, text, _ := strings.Cut(string(was.blob(0)), " ")
		n, err := strconv.ParseInt(text, 10, 64)
		ahead = err == nil && before == boot && offset-n > setTolerance.Microseconds()
	}
	_, err = w.conn.exec(steps.SetFact, "clock", []byte(boot+" "+strconv.FormatInt(offset, 10)))
	return ahead, err
}

// checkLog refuses a log beside a file that was closed without one, as a copy is. Such a
// log belongs to an earlier file, and SQLite would write its pages into the copy.
func checkLog(path string, none bool) error {
	info, err := os.Stat(path + "-wal")
	if !none || err != nil || info.Size() == 0 {
		return nil //nolint:nilerr // there is no log
	}
	return fmt.Errorf("journal: %s-wal does not belong to %s, which replaced an earlier file: move it and %s-shm away", path, path, path)
}
