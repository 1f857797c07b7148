package sqlite

import (
	sqlite3 "modernc.org/sqlite/lib"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A tx is the transaction of one commit, with its changes of the journal's memory. A
// failed request undoes its changes. The others become visible after the commit.
type tx struct {
	*conn
	j       *Journal
	now     int64
	undo    []func()                  // changes of memory to undo, run in reverse
	ends    []permitEnd               // for the ledgers, once committed
	after   []func()                  // run once committed
	signals steps.Signals             // sent once committed
	dirty   bool                      // the current request has written
	shops   map[int64]journal.ShopKey // that the steps have found by their names
}

type txMark struct {
	undo, ends int
}

func (t *tx) reset(c *conn, now int64) {
	clear(t.undo)
	clear(t.after)
	t.after = t.after[:0]
	clear(t.shops)
	t.conn, t.now, t.undo, t.ends = c, now, t.undo[:0], t.ends[:0]
	t.signals = steps.Signals{}
}

// exec runs a statement and notes whether it has written.
func (t *tx) exec(query string, args ...any) (int64, error) {
	n, err := t.conn.exec(query, args...)
	t.wrote(n > 0 || err != nil)
	return n, err
}

// change runs a statement that writes and returns its first row, nil if it has changed
// nothing.
func (t *tx) change(query string, args ...any) (row, error) {
	r, err := t.conn.one(query, args...)
	t.wrote(r != nil || err != nil)
	return r, err
}

// wrote records that a statement may have changed any row.
func (t *tx) wrote(has bool) {
	if has {
		t.dirty = true
		if t.j.writer != nil { // it is nil beside a worker
			t.j.writer.rows.clear()
		}
	}
}

func (t *tx) mark() txMark { return txMark{len(t.undo), len(t.ends)} }

func (t *tx) rewind(m txMark) {
	for i := len(t.undo) - 1; i >= m.undo; i-- {
		t.undo[i]()
	}
	t.undo, t.ends = t.undo[:m.undo], t.ends[:m.ends]
}

func (t *tx) undoAll() {
	t.rewind(txMark{})
	t.j.writer.rows.rollback()
	t.j.RecountLetters()
}

// publish updates the memory after the commit and signals waiting goroutines.
func (t *tx) publish() {
	t.j.writer.rows.commit()
	for _, f := range t.after {
		f()
	}
	if len(t.ends) > 0 {
		t.j.writer.ledgers.end(t.j, t.ends)
	}
	t.j.Notify(t.signals)
}

// fatal reports whether err may have ended the transaction: SQLite rolls back by itself if
// the disk or the file fails.
func fatal(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_MISUSE:
		return true
	}
	return false
}
