package main

import (
	"context"
	"errors"
	"fmt"

	"invoicebox-worker/internal/journal"
)

const (
	maxRows   = 100_000
	tableRows = 50 // of a table without --limit
)

// pageFlags select a part of a list.
type pageFlags struct {
	Limit *int   `name:"limit" group:"command" placeholder:"N" help:"Maximum number of rows, up to 100000; default: 50 in a table, 100000 with --output json. A message on standard error reports a list that was cut."`
	After string `name:"after" group:"command" placeholder:"ID" help:"List the rows after this id, to continue a list that was cut."`
}

// limit is the number of rows to list.
func (p pageFlags) limit(output string) (int, error) {
	switch {
	case p.Limit != nil && (*p.Limit < 1 || *p.Limit > maxRows):
		return 0, &usageError{"--limit must be 1 to 100000"}
	case p.Limit != nil:
		return *p.Limit, nil
	case output == "json":
		return maxRows, nil
	}
	return tableRows, nil
}

// readRows reads at most limit rows, the newest first, from the number before which the
// list begins (0: the newest). The journal returns at most 1000 rows at once. More reports
// whether further rows follow.
func readRows[T any](limit int, before int64, read func(before int64, limit int) ([]T, error), number func(T) int64) (rows []T, more bool, err error) {
	for len(rows) <= limit { // the row after the last one shows whether the list is cut
		want := min(1000, limit+1-len(rows))
		page, err := read(before, want)
		if err != nil {
			return nil, false, err
		}
		rows = append(rows, page...)
		if len(page) < want {
			return rows, false, nil
		}
		before = number(page[len(page)-1])
	}
	return rows[:limit], true, nil
}

// notifyTruncated reports that a list was cut, and how to continue it. It writes to
// standard error, so that standard output holds the list only.
func notifyTruncated(env environment, rows int, last string) {
	_, _ = fmt.Fprintf(env.stderr, "invoicebox-worker: the list was cut after %s; continue with --after %s, or raise --limit\n", plural(rows, "row", "rows"), last)
}

// operationNumber is the journal's number of an operation.
func operationNumber(ctx context.Context, j journal.Journal, text string) (int64, error) {
	id, err := operationID(text)
	if err != nil {
		return 0, err
	}
	d, err := j.Operation(ctx, id)
	if errors.Is(err, journal.ErrNotFound) {
		return 0, fmt.Errorf("there is no operation %s to continue the list after", id)
	}
	return d.ID, err
}
