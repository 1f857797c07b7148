package steps

import (
	"context"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal/rows"
)

// read hands the rows of a query to f, beside the writer.
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

// list reads all rows of a query beside the writer, each made to what is listed.
func list[T, R any](ctx context.Context, j *Journal, q Query, args []any, of func(*T) R) ([]R, error) {
	var all []R
	err := read(ctx, j, q, args, func(row *T) error {
		all = append(all, of(row))
		return nil
	})
	return all, err
}

// wall turns a time of the database into one for people.
func wall(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// asUUID is uuid.Nil for bytes that are none.
func asUUID(b []byte) uuid.UUID {
	id, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil
	}
	return id
}

// bounded keeps the length of a list within the contract's bounds.
func bounded(limit int) int { return min(max(limit, 1), 1000) }
