package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"invoicebox-worker/internal/journal"
)

// statements are prepared once for all readers. Reads are short, because the log cannot
// shrink during a read.
type statements struct {
	db    *sql.DB
	mu    sync.Mutex
	stmts map[string]*sql.Stmt
	done  bool
}

type scanner = func(dest ...any) error

func (s *statements) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil, journal.ErrClosed
	}
	if st, ok := s.stmts[query]; ok {
		return st, nil
	}
	st, err := s.db.PrepareContext(ctx, query) //nolint:sqlclosecheck // kept; see close
	if err != nil {
		return nil, err
	}
	s.stmts[query] = st
	return st, nil
}

func (s *statements) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}

// open returns an error after the journal was closed.
func (j *Journal) open() error {
	j.reads.mu.Lock()
	defer j.reads.mu.Unlock()
	if j.reads.done {
		return journal.ErrClosed
	}
	return nil
}

// read passes every row of a query to f.
func (j *Journal) read(ctx context.Context, query string, f func(scanner) error) error {
	return j.readRows(ctx, query, nil, func(rows *sql.Rows) error { return f(rows.Scan) })
}

func (j *Journal) readRows(ctx context.Context, query string, args in, f func(*sql.Rows) error) (err error) {
	st, err := j.reads.prepare(ctx, query) //nolint:sqlclosecheck // kept by reads
	if err != nil {
		return readError(err)
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		if e := j.open(); e != nil {
			return e
		}
		return readError(err)
	}
	defer func() {
		if closeErr := rows.Close(); err == nil && closeErr != nil {
			err = readError(closeErr)
		}
	}()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return readError(err)
	}
	return nil
}

// readColumns is read with the names of the columns.
func (j *Journal) readColumns(ctx context.Context, query string, args in, f func(columns []string, values []any) error) error {
	var columns []string
	return j.readRows(ctx, query, args, func(rows *sql.Rows) error {
		if columns == nil {
			var err error
			if columns, err = rows.Columns(); err != nil {
				return err
			}
		}
		values, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return err
		}
		return f(columns, values)
	})
}

func readError(err error) error {
	if errors.Is(err, journal.ErrClosed) {
		return err
	}
	return fmt.Errorf("journal: read: %w", err)
}
