package sqlite

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
)

func testConn(t *testing.T) *conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "j.db")
	if err := createFile(path); err != nil {
		t.Fatal(err)
	}
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

// A statement that is left after its first row commits when it is reset. An error of
// the commit is the caller's.
func TestConnReportsFailedCommit(t *testing.T) {
	c := testConn(t)
	for _, q := range []string{
		"PRAGMA foreign_keys=ON",
		"CREATE TABLE parent (id INTEGER PRIMARY KEY)",
		"CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
	} {
		if _, err := c.exec(q); err != nil {
			t.Fatal(q, err)
		}
	}
	if r, err := c.one("INSERT INTO child (parent) VALUES (9) RETURNING id"); code(err) != sqlite3.SQLITE_CONSTRAINT {
		t.Errorf("a row without its parent: %v, %v", r, err)
	}
	if r, err := c.one("SELECT count(*) FROM child"); err != nil || r.int(0) != 0 {
		t.Errorf("%v rows, %v", r, err)
	}
}

func TestConnValues(t *testing.T) {
	c := testConn(t)
	large := bytes.Repeat([]byte{0, 1, 0xff}, 1<<20)
	for _, v := range []any{
		nil, int64(-1 << 63), int64(1<<63 - 1), "", "a\x00b", "\xff\xfe", "ä", strings.Repeat("x\x00", 1<<20),
		[]byte{}, []byte{0}, large, "after a large one",
	} {
		r, err := c.one("SELECT ?", v)
		if err != nil {
			t.Fatal(err)
		}
		switch want := v.(type) {
		case []byte:
			if got, ok := r[0].any().([]byte); !ok || got == nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes came back as %d: %v", len(want), len(got), r[0].kind)
			}
		default:
			if got := r[0].any(); got != v {
				t.Errorf("%.20q came back as %.20q", v, got)
			}
		}
	}
	if r, err := c.one("SELECT ?", []byte(nil)); err != nil || !r.null(0) {
		t.Errorf("no blob came back as %v, %v", r, err)
	}
	// Nothing of the journal is a floating-point number: a sum that is too large would be.
	if r, err := c.one("SELECT 9223372036854775807 + 1"); err == nil {
		t.Errorf("a floating-point number was read as %v", r[0].any())
	}
	for _, q := range []string{"SELECT 1; SELECT 2", "SELECT 1\x00", "", "SELECT", "SELECT $3"} {
		if _, err := c.exec(q); err == nil {
			t.Errorf("%q ran", q)
		}
	}
	if _, err := c.exec("SELECT ?", 1, 2); err == nil {
		t.Error("a statement ran with an argument too many")
	}
}
