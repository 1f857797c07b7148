package postgres

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
)

// read passes every row of a query to f, on a connection other than the writer's.
func (j *Journal) read(ctx context.Context, sql string, f func(row) error, args ...any) error {
	return j.readRows(ctx, sql, func(rows pgx.Rows) error {
		return eachRow(rows, func(_ []string, values []any) error { return f(values) })
	}, args...)
}

func (j *Journal) readRows(ctx context.Context, sql string, f func(pgx.Rows) error, args ...any) error {
	if j.closed.Load() {
		return journal.ErrClosed
	}
	var left error // the error of f, unchanged
	err := j.bounded(ctx, func(ctx context.Context) error {
		rows, err := j.readers.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		left = f(rows)
		if err := rows.Err(); err != nil {
			left = nil
			return err
		}
		return nil
	})
	switch {
	case left != nil:
		return left
	case err != nil:
		return fmt.Errorf("journal: read: %w", err)
	}
	return nil
}

// readColumns is read with the names of the columns.
func (j *Journal) readColumns(ctx context.Context, sql string, f func(columns []string, values []any) error, args ...any) error {
	return j.readRows(ctx, sql, func(rows pgx.Rows) error { return eachRow(rows, f) }, args...)
}

func asUUID(b []byte) uuid.UUID {
	id, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil
	}
	return id
}
