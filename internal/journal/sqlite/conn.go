package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A conn is one connection with its prepared statements, for one goroutine at a time.
// It calls SQLite without the driver of database/sql. The driver allocates for every
// argument, column and statement, which takes as long as a typical statement itself.
type conn struct {
	tls     *libc.TLS
	db      uintptr
	stmts   map[string]*stmt
	buf     uintptr // scratch memory of SQLite, for arguments and for pointers that SQLite returns
	bufSize int
}

type stmt struct {
	c       *conn
	p       uintptr
	row     row
	columns []string
	params  []int // the index of each parameter's argument
	large   bool  // an argument is large
}

const (
	pointerSize = strconv.IntSize / 8
	// Arguments of at least this size are cleared after a run.
	largeArgument = 8 << 10
)

// sqliteTransient makes SQLite copy an argument.
const sqliteTransient = ^uintptr(0)

// in are the arguments of a statement.
type in []any

// dsn returns the URI of a file for SQLite. The path may contain any bytes.
func dsn(path string, query string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	p := strings.ReplaceAll(u.EscapedPath(), "?", "%3f")
	if !strings.HasPrefix(p, "/") { // a volume letter
		p = "/" + p
	}
	return "file:" + p + "?" + query
}

func dial(path string) (_ *conn, err error) {
	c := &conn{tls: libc.NewTLS(), stmts: make(map[string]*stmt, 64)}
	defer func() {
		if err != nil {
			_ = c.close()
		}
	}()
	name, err := c.text(dsn(path, "mode=rw"))
	if err != nil {
		return nil, err
	}
	defer sqlite3.Xsqlite3_free(c.tls, name)
	if err := c.grow(2 * pointerSize); err != nil {
		return nil, err
	}
	// Even after an error there may be a connection.
	rc := sqlite3.Xsqlite3_open_v2(c.tls, name, c.buf, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_URI|sqlite3.SQLITE_OPEN_NOMUTEX, 0)
	c.db = c.pointer(0)
	if err := c.failed(rc); err != nil {
		return nil, err
	}
	sqlite3.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	for setting, value := range map[int32]int32{
		// A text in double quotes is a name and never a value.
		sqlite3.SQLITE_DBCONFIG_DQS_DDL: 0,
		sqlite3.SQLITE_DBCONFIG_DQS_DML: 0,
		// A plan does not depend on arguments. Without this, SQLite parses a statement
		// again whenever the argument of its LIMIT is another than before.
		sqlite3.SQLITE_DBCONFIG_ENABLE_QPSG: 1,
	} {
		args := libc.NewVaList(value, uintptr(0))
		rc := sqlite3.Xsqlite3_db_config(c.tls, c.db, setting, args)
		libc.Xfree(c.tls, args)
		if err := c.failed(rc); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		sqlite3.Xsqlite3_finalize(c.tls, s.p) // repeats the error of the last run
	}
	rc := sqlite3.Xsqlite3_close(c.tls, c.db)
	err := c.failed(rc)
	sqlite3.Xsqlite3_free(c.tls, c.buf)
	c.tls.Close()
	return err
}

// A sqliteError is an error of SQLite.
type sqliteError struct {
	code int
	text string
}

func (e *sqliteError) Error() string { return e.text }

// failed returns the error of a result code, nil if the code is not an error.
func (c *conn) failed(rc int32) error {
	switch rc {
	case sqlite3.SQLITE_OK, sqlite3.SQLITE_ROW, sqlite3.SQLITE_DONE:
		return nil
	}
	text := libc.GoString(sqlite3.Xsqlite3_errstr(c.tls, rc))
	if c.db != 0 {
		if more := libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db)); more != text {
			text += ": " + more
		}
	}
	return &sqliteError{int(rc), fmt.Sprintf("%s (%d)", text, rc)}
}

// grow makes the buffer at least n bytes large. It does not keep its contents.
func (c *conn) grow(n int) error {
	if n <= c.bufSize {
		return nil
	}
	sqlite3.Xsqlite3_free(c.tls, c.buf)
	n = max(n, 4<<10)
	c.buf, c.bufSize = sqlite3.Xsqlite3_malloc64(c.tls, uint64(n)), n
	if c.buf == 0 {
		c.bufSize = 0
		return c.failed(sqlite3.SQLITE_NOMEM)
	}
	return nil
}

// pointer reads pointer i that a function of SQLite has stored in the buffer.
func (c *conn) pointer(i int) uintptr {
	b := libc.GoBytes(c.buf, 2*pointerSize)[i*pointerSize:]
	if pointerSize == 4 {
		return uintptr(binary.NativeEndian.Uint32(b))
	}
	return uintptr(binary.NativeEndian.Uint64(b))
}

// text copies a text into memory of SQLite and ends it with a zero byte. The caller
// frees it.
func (c *conn) text(s string) (uintptr, error) {
	p := sqlite3.Xsqlite3_malloc64(c.tls, uint64(len(s)+1))
	if p == 0 {
		return 0, c.failed(sqlite3.SQLITE_NOMEM)
	}
	b := libc.GoBytes(p, len(s)+1)
	b[copy(b, s)] = 0
	return p, nil
}

func (c *conn) prepare(query string) (*stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s := &stmt{c: c}
	if err := s.prepare(query); err != nil {
		sqlite3.Xsqlite3_finalize(c.tls, s.p)
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

func (s *stmt) prepare(query string) error {
	c := s.c
	text, err := c.text(query)
	if err != nil {
		return err
	}
	defer sqlite3.Xsqlite3_free(c.tls, text)
	if err := c.failed(sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, c.buf, c.buf+pointerSize)); err != nil {
		return err
	}
	s.p = c.pointer(0)
	if end := c.pointer(1); s.p == 0 || end != text+uintptr(len(query)) {
		return fmt.Errorf("journal: %q is not one statement", query)
	}
	s.columns = make([]string, sqlite3.Xsqlite3_column_count(c.tls, s.p))
	for i := range s.columns {
		s.columns[i] = libc.GoString(sqlite3.Xsqlite3_column_name(c.tls, s.p, int32(i))) // #nosec G115 -- few
	}
	s.row = make(row, len(s.columns))
	s.params = make([]int, sqlite3.Xsqlite3_bind_parameter_count(c.tls, s.p))
	for i := range s.params {
		s.params[i] = i
		// SQLite numbers parameters like $2 in the order of the text.
		name := libc.GoString(sqlite3.Xsqlite3_bind_parameter_name(c.tls, s.p, int32(i+1))) // #nosec G115 -- few
		if number, ok := strings.CutPrefix(name, "$"); ok {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || n > len(s.params) {
				return fmt.Errorf("journal: parameter %s of %q", name, query)
			}
			s.params[i] = n - 1
		}
	}
	return nil
}

// bindInt, bindText, bindBytes and bindNull set an argument; the first is number 1.
func (s *stmt) bindInt(i int, n int64) error {
	return s.c.failed(sqlite3.Xsqlite3_bind_int64(s.c.tls, s.p, int32(i), n)) // #nosec G115 -- few
}

func (s *stmt) bindNull(i int) error {
	return s.c.failed(sqlite3.Xsqlite3_bind_null(s.c.tls, s.p, int32(i))) // #nosec G115 -- few
}

func (s *stmt) bindText(i int, text string) error {
	if err := s.grow(len(text)); err != nil {
		return err
	}
	copy(libc.GoBytes(s.c.buf, len(text)), text)
	return s.c.failed(sqlite3.Xsqlite3_bind_text64(s.c.tls, s.p, int32(i), s.c.buf, uint64(len(text)), sqliteTransient, sqlite3.SQLITE_UTF8)) // #nosec G115 -- few
}

func (s *stmt) bindBytes(i int, b []byte) error {
	if b == nil {
		return s.bindNull(i)
	}
	if err := s.grow(len(b)); err != nil {
		return err
	}
	copy(libc.GoBytes(s.c.buf, len(b)), b)
	return s.c.failed(sqlite3.Xsqlite3_bind_blob64(s.c.tls, s.p, int32(i), s.c.buf, uint64(len(b)), sqliteTransient)) // #nosec G115 -- few
}

func (s *stmt) grow(n int) error {
	s.large = s.large || n >= largeArgument
	return s.c.grow(n)
}

func (s *stmt) bind(args in) error {
	if len(s.params) != len(args) {
		return fmt.Errorf("journal: a statement with %d parameters got %d arguments", len(s.params), len(args))
	}
	for i, of := range s.params {
		var err error
		switch v := args[of].(type) {
		case nil:
			err = s.bindNull(i + 1)
		case int64:
			err = s.bindInt(i+1, v)
		case int:
			err = s.bindInt(i+1, int64(v))
		case string:
			err = s.bindText(i+1, v)
		case []byte:
			err = s.bindBytes(i+1, v)
		default:
			err = fmt.Errorf("journal: a %T is no argument of a statement", v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step runs the statement up to its next row and returns whether there is one. It cannot
// be interrupted.
func (s *stmt) step() (bool, error) {
	rc := sqlite3.Xsqlite3_step(s.c.tls, s.p)
	return rc == sqlite3.SQLITE_ROW, s.c.failed(rc)
}

// reset makes the statement ready to be run again. Small arguments remain set, because
// SQLite would plan some statements again if they changed.
//
// It repeats the error of the last step. A statement that has more rows ends here, and
// if it is a transaction of its own, it is committed here.
func (s *stmt) reset() error {
	rc := sqlite3.Xsqlite3_reset(s.c.tls, s.p)
	err := s.c.failed(rc)
	if s.large {
		sqlite3.Xsqlite3_clear_bindings(s.c.tls, s.p)
		s.large = false
	}
	return err
}

// run runs a statement whose arguments are set, and returns how many rows it changed.
func (s *stmt) run() (int64, error) {
	for {
		if more, err := s.step(); err == nil && more {
			continue
		}
		changed := sqlite3.Xsqlite3_changes64(s.c.tls, s.c.db)
		if err := s.reset(); err != nil {
			return 0, err
		}
		return changed, nil
	}
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	if err := s.bind(args); err != nil {
		return 0, err
	}
	return s.run()
}

// each passes every row to f. A row is valid until f returns; its blobs and texts may be
// retained. f must not run the same statement.
func (c *conn) each(query string, args in, f func(row) error) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	if err := s.bind(args); err != nil {
		return err
	}
	for {
		if more, err := s.step(); err != nil || !more {
			return s.reset()
		}
		err := s.readRow()
		if err == nil {
			err = f(s.row)
		}
		if err != nil {
			// An error of the database matters more than the reason to stop.
			if e := s.reset(); e != nil {
				return e
			}
			return err
		}
	}
}

// readRow reads the present row.
func (s *stmt) readRow() error {
	for i := range s.row {
		if err := s.read(i); err != nil {
			return err
		}
	}
	return nil
}

// read reads a column of the present row.
func (s *stmt) read(i int) error {
	tls, column := s.c.tls, int32(i) // #nosec G115 -- few
	v := &s.row[i]
	switch v.kind = sqlite3.Xsqlite3_column_type(tls, s.p, column); v.kind {
	case sqlite3.SQLITE_INTEGER:
		v.n = sqlite3.Xsqlite3_column_int64(tls, s.p, column)
	case sqlite3.SQLITE_TEXT:
		p := sqlite3.Xsqlite3_column_text(tls, s.p, column)
		v.text = string(libc.GoBytes(p, int(sqlite3.Xsqlite3_column_bytes(tls, s.p, column))))
	case sqlite3.SQLITE_BLOB:
		p := sqlite3.Xsqlite3_column_blob(tls, s.p, column)
		n := int(sqlite3.Xsqlite3_column_bytes(tls, s.p, column))
		if v.blob = make([]byte, n); n > 0 {
			copy(v.blob, libc.GoBytes(p, n))
		}
	case sqlite3.SQLITE_FLOAT:
		return fmt.Errorf("journal: column %s has a floating-point number", s.columns[i])
	}
	return nil
}

// one returns the first row, nil if there is none. The row is valid until the same
// statement runs again.
func (c *conn) one(query string, args ...any) (row, error) {
	var found row
	err := c.each(query, args, func(r row) error {
		found = r
		return io.EOF
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return found, nil
}

// A row has the columns of a result. Its methods return the zero value for NULL.
type row []value

// A value has one of n, text and blob, depending on its kind.
type value struct {
	kind int32
	n    int64
	text string
	blob []byte
}

func (v *value) any() any {
	switch v.kind {
	case sqlite3.SQLITE_INTEGER:
		return v.n
	case sqlite3.SQLITE_TEXT:
		return v.text
	case sqlite3.SQLITE_BLOB:
		return v.blob
	}
	return nil
}

func (r row) int(i int) int64 {
	if r[i].kind != sqlite3.SQLITE_INTEGER {
		return 0
	}
	return r[i].n
}

func (r row) text(i int) string {
	if r[i].kind != sqlite3.SQLITE_TEXT {
		return ""
	}
	return r[i].text
}

func (r row) blob(i int) []byte {
	if r[i].kind != sqlite3.SQLITE_BLOB {
		return nil
	}
	return r[i].blob
}

func (r row) null(i int) bool { return r[i].kind == sqlite3.SQLITE_NULL }

// values returns copies of the columns.
func (r row) values() []any {
	values := make([]any, len(r))
	for i := range r {
		values[i] = r[i].any()
	}
	return values
}

// pragma reads a setting back.
func (c *conn) pragma(name string) (string, error) {
	r, err := c.one("PRAGMA " + name)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", nil
	}
	return fmt.Sprint(r[0].any()), nil
}

// copyTo copies the database into that of another connection, some pages at a time.
// Before each part it calls more, and stops if that returns an error.
func (c *conn) copyTo(dst *conn, pages int32, more func() error) error {
	main, err := c.text("main")
	if err != nil {
		return err
	}
	defer sqlite3.Xsqlite3_free(c.tls, main)
	b := sqlite3.Xsqlite3_backup_init(c.tls, dst.db, main, c.db, main)
	if b == 0 {
		return dst.failed(sqlite3.Xsqlite3_errcode(c.tls, dst.db))
	}
	for rc := int32(sqlite3.SQLITE_OK); rc == sqlite3.SQLITE_OK && err == nil; {
		if err = more(); err == nil {
			rc = sqlite3.Xsqlite3_backup_step(c.tls, b, pages)
		}
	}
	rc := sqlite3.Xsqlite3_backup_finish(c.tls, b) // it repeats the error of a step
	return errors.Join(err, dst.failed(rc))
}

// code is SQLite's primary result code of err, 0 when it is not SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*sqliteError](err); ok {
		return e.code & 0xff
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok { // of the readers
		return e.Code() & 0xff
	}
	return 0
}
