package steps

import (
	"context"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal/rows"
)

// read passes the rows of a query to f. It does not wait for the writer.
func read[T any](ctx context.Context, j *Journal, q Query, args []any, f func(*T) error) error {
	var s rows.Scanner[T]
	return j.db.Read(ctx, q, args, func(columns []string, values []any) error {
		row, err := s.Scan(columns, values)
		if err != nil {
			return err
		}
		return f(row)
	})
}

// list reads all rows of a query and converts each. It does not wait for the writer.
func list[T, R any](ctx context.Context, j *Journal, q Query, args []any, of func(*T) R) ([]R, error) {
	var all []R
	err := read(ctx, j, q, args, func(row *T) error {
		all = append(all, of(row))
		return nil
	})
	return all, err
}

// wall converts a time of the database to one that is displayed.
func wall(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// asUUID converts bytes to a UUID; uuid.Nil if they are not one.
func asUUID(b []byte) uuid.UUID {
	id, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil
	}
	return id
}

// bounded clamps the length of a list to the contract's bounds.
func bounded(limit int) int { return min(max(limit, 1), 1000) }
