package steps

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal/rows"
)

// ErrStop is returned by a callback to stop the iteration over rows. The iteration returns
// it unchanged.
var ErrStop = errors.New("stop")

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

// conditions are those of a list for display, with their arguments.
type conditions struct {
	text string
	args []any
}

// when adds a condition if it applies. Its arguments stand for the question marks.
func (c *conditions) when(applies bool, condition string, args ...any) {
	if !applies {
		return
	}
	for _, a := range args {
		c.args = append(c.args, a)
		condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(c.args)), 1)
	}
	c.text += " AND " + condition
}

// newest returns the query for the newest rows, and its arguments. Rows ends with a
// condition.
func (c *conditions) newest(rows, id string, limit int) (Query, []any) {
	c.args = append(c.args, bounded(limit))
	return Query(rows + c.text + " ORDER BY " + id + " DESC LIMIT $" + strconv.Itoa(len(c.args))), c.args
}

// readInt reads the first column of a query with one row, 0 for none and for NULL.
func readInt(ctx context.Context, j *Journal, q Query, args ...any) (n int64, err error) {
	err = j.db.Read(ctx, q, args, askingInts(q, func(v int64) { n = v }).Each)
	return n, err
}

// displayTime converts a time of the database to one that is displayed.
func displayTime(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// displayTimeOrZero is displayTime for a column that may be NULL: the zero time for 0.
func displayTimeOrZero(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return displayTime(micros)
}

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
