package sqlite

import (
	"os"
	"path/filepath"
	"testing"
)

// A transaction that does not fit into the buffer or the page cache is read back while
// it is written, is taken back in parts, and is complete for others once it is committed.
func TestLogBuffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
	open := func() *conn {
		c, err := dial(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.close(); err != nil {
				t.Error(err)
			}
		})
		return c
	}
	c, other := open(), open()
	run := func(query string, args ...any) {
		t.Helper()
		if _, err := c.exec(query, args...); err != nil {
			t.Fatal(query, err)
		}
	}
	count := func(c *conn, query string, want int64) {
		t.Helper()
		r, err := c.one(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.int(0); got != want {
			t.Fatalf("%s: %d, want %d", query, got, want)
		}
	}
	run("PRAGMA journal_mode=WAL")
	run("PRAGMA synchronous=FULL")
	run("PRAGMA cache_size=20")
	for _, c := range []*conn{c, other} {
		if _, err := c.one("PRAGMA wal_autocheckpoint=0"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.bufferLog(); err != nil {
		t.Fatal(err)
	}
	run("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b BLOB)")
	logSize := func() int64 {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	const many = 500
	for round := range int64(3) {
		run("BEGIN IMMEDIATE")
		for i := range many {
			run("INSERT INTO t (n, b) VALUES (?, zeroblob(3000))", round)
			if i == many/2 {
				run("SAVEPOINT s")
			}
		}
		count(c, "SELECT count(*) FROM t", (round+1)*many)
		run("ROLLBACK TO s")
		run("RELEASE s")
		for range many - many/2 - 1 {
			run("INSERT INTO t (n, b) VALUES (?, zeroblob(3000))", round)
		}
		count(other, "SELECT count(*) FROM t", round*many)
		before := logSize()
		run("COMMIT")
		if logSize() <= before {
			t.Error("the end of the transaction is not in the log after the commit")
		}
		count(other, "SELECT count(*) FROM t", (round+1)*many)
	}
	// What is left of a transaction that was taken back does not reach the log, where
	// another connection may have written meanwhile.
	if r, err := c.one("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil || r.int(0) != 0 {
		t.Fatal(r, err)
	}
	run("BEGIN IMMEDIATE")
	run("UPDATE t SET n = 9") // reads nothing from the log
	if c.log.used == 0 {
		t.Fatal("nothing is left of the transaction")
	}
	run("ROLLBACK")
	if _, err := other.exec("UPDATE t SET n = 7"); err != nil {
		t.Fatal(err)
	}
	run("UPDATE t SET n = 8 WHERE id = 1")
	count(open(), "SELECT count(*) FROM t WHERE n = 7", 3*many-1)
	for _, c := range []*conn{c, other} {
		count(c, "SELECT count(*) FROM t WHERE length(b) = 3000", 3*many)
		if got, err := c.pragma("integrity_check"); err != nil || got != "ok" {
			t.Fatal(got, err)
		}
	}
	if r, err := c.one("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil || r.int(0) != 0 {
		t.Fatal(r, err)
	}
	count(other, "SELECT count(*) FROM t", 3*many)
}
