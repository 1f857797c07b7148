package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
)

// A conn is one connection with its prepared statements. It goes to the driver
// directly: the writer is one goroutine with one connection, for which
// database/sql's pool and conversions would be a third of the work.
type conn struct {
	raw   driver.Conn
	stmts map[string]*stmt
}

type stmt struct {
	raw     driver.Stmt
	exec    driver.StmtExecContext
	qry     driver.StmtQueryContext
	args    []driver.NamedValue
	dest    []driver.Value
	columns []string
}

// in are the arguments of a statement.
type in []any

// dsn names the file to the driver, whatever bytes its path has.
func dsn(path string, query string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	p := strings.ReplaceAll(u.EscapedPath(), "?", "%3f")
	if !strings.HasPrefix(p, "/") { // a volume letter
		p = "/" + p
	}
	return "file:" + p + "?" + query
}

func dial(path string) (*conn, error) {
	raw, err := (&sqlite.Driver{}).Open(dsn(path, "mode=rw&_dqs=0"))
	if err != nil {
		return nil, err
	}
	return &conn{raw: raw, stmts: make(map[string]*stmt, 64)}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.raw.Close())
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

func (c *conn) prepare(query string) (*stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	raw, err := c.raw.Prepare(query)
	if err != nil {
		return nil, err
	}
	s := &stmt{raw: raw}
	var ok bool
	if s.exec, ok = raw.(driver.StmtExecContext); !ok {
		return nil, errors.New("the driver cannot run prepared statements")
	}
	if s.qry, ok = raw.(driver.StmtQueryContext); !ok {
		return nil, errors.New("the driver cannot query prepared statements")
	}
	c.stmts[query] = s
	return s, nil
}

func (s *stmt) bind(args in) []driver.NamedValue {
	s.args = s.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case []byte:
			if v == nil {
				a = nil
			}
		}
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s.args
}

// exec runs a statement and tells how many rows it changed. No statement of
// the writer can be interrupted: what was begun ends.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	res, err := s.exec.ExecContext(context.Background(), s.bind(args))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each hands every row to f. A row is good until f returns, its blobs and
// texts for ever. f must not run the same statement.
func (c *conn) each(query string, args in, f func(row) error) (err error) {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.qry.QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := rows.Close(); err == nil {
			err = closeErr
		}
	}()
	if s.columns == nil {
		s.columns = rows.Columns()
		s.dest = make([]driver.Value, len(s.columns))
	}
	for {
		switch err := rows.Next(s.dest); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(s.dest); err != nil {
			return err
		}
	}
}

// one returns the first row, nil when there is none. It is good until the same
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

// A row is a result's columns. The methods give the zero value for NULL.
type row []driver.Value

func (r row) int(i int) int64 {
	v, _ := r[i].(int64)
	return v
}

func (r row) text(i int) string {
	v, _ := r[i].(string)
	return v
}

func (r row) blob(i int) []byte {
	v, _ := r[i].([]byte)
	return v
}

func (r row) null(i int) bool { return r[i] == nil }

// pragma reads a setting back.
func (c *conn) pragma(name string) (string, error) {
	r, err := c.one("PRAGMA " + name)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", nil
	}
	return fmt.Sprint(r[0]), nil
}

// code is SQLite's primary result code of err, 0 when it is not SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}
