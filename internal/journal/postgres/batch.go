package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A batch is one transaction of the requests that waited.
type batch struct {
	j    *Journal
	conn *pgx.Conn
	now  int64 // of the transaction, once it holds its locks; 0 before

	after          []func() // update memory after the commit
	permits        permits
	invited        map[journal.ShopKey]int64 // shops with an open invitation, of those that chose another provider
	signals        steps.Signals             // sent after the commit
	permitReturned bool                      // permits are available earlier than before
	wrote          bool
	queued         []statement // for the next round trip
	outbox         outboxChanges
	single         bool // it has one request, so that a failure affects no other
}

// errTransaction reports that the transaction was rolled back or is broken.
var errTransaction = errors.New("journal: the transaction was lost")

func newBatch(j *Journal, conn *pgx.Conn) *batch {
	return &batch{j: j, conn: conn, permits: newPermits()}
}

// first returns the beginning of a statement for errors. A statement contains no values.
func first(sql string) string { return sql[:min(len(sql), 40)] }

// transient reports whether the same transaction may succeed when it is run again: it was
// in a deadlock or conflict with another replica, which may have inserted the same row, or
// an operator canceled it.
func transient(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "40P01" || e.Code == "40001" || e.Code == "55P03" || e.Code == "57014" || e.Code == "23505"
	}
	return false
}
