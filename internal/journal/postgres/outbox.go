package postgres

import (
	"slices"
	"strings"

	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
)

// outboxChanges are the changes of a transaction to the outbox. The ids of outbox rows
// have the order of the commits. So a transaction that inserts rows holds an advisory
// lock, which all replicas share, from its first id to its commit, and acquires it with
// its last statements. Until then negative numbers stand for the ids: -1 for the first,
// -2 for the second. Statements that may contain them are postponed.
type outboxChanges struct {
	promised  int64 // ids for which there are negative numbers
	assigned  int64 // of these, those that the database has assigned
	postponed []statement
}

// promise passes negative numbers for the next ids to a.
func (o *outboxChanges) promise(a *steps.Ask) error {
	for range a.N {
		o.promised++
		if err := a.Each(nil, []any{-o.promised}); err != nil {
			return err
		}
	}
	return nil
}

const (
	outboxLock = "SELECT pg_advisory_xact_lock($1, $2)"
	// outboxAssign assigns $1 ids, after $2 ids that the transaction has already, and stores
	// the number from which a negative number is subtracted. Under the lock ids have no gaps.
	outboxAssign = `SELECT set_config('invoicebox.outbox', (min(id) - 1 - $2)::text, TRUE)
		FROM (SELECT nextval('outbox_row'::regclass) AS id FROM generate_series(1, $1::bigint)) x`
)

// realOutboxID is an expression for an id: the one that was assigned if it is negative.
func realOutboxID(id string) string {
	return "CASE WHEN " + id + " < 0 THEN (SELECT current_setting('invoicebox.outbox')::bigint) - " + id + " ELSE " + id + " END"
}

// outboxTables returns the tables that have columns with ids of the outbox.
func outboxTables() []string {
	return []string{"outbox", "outbox_pending", "dead_letter", "announced"}
}

// hasOutboxID reports whether a column of a table contains ids of the outbox.
func hasOutboxID(x *rows.Table, c rows.Column) bool {
	return slices.Contains(outboxTables(), x.Name) && (c.Name == "outbox" || c.Name == "row" || c.Name == "id" && x.Name == "outbox")
}

// save queues a statement that saves rows, or postpones it if they may contain ids of the
// outbox.
func (b *batch) save(x *rows.Table, what, sql string, args []any) {
	if slices.Contains(outboxTables(), x.Name) {
		b.outbox.postponed = append(b.outbox.postponed, statement{what: what, sql: sql, args: args, onZero: errMissing})
		return
	}
	b.queue(what, sql, args)
}

// sendOutboxBefore queues the postponed statements if sql may read their tables.
func (b *batch) sendOutboxBefore(sql string) {
	if len(b.outbox.postponed) > 0 && slices.ContainsFunc(outboxTables(), func(name string) bool { return strings.Contains(sql, name) }) {
		b.sendOutbox()
	}
}

// sendOutbox queues the postponed statements, behind those that assign their ids.
func (b *batch) sendOutbox() {
	o := &b.outbox
	if len(o.postponed) == 0 {
		return
	}
	if n := o.promised - o.assigned; n > 0 {
		if o.assigned == 0 {
			b.queue("locking the outbox", outboxLock, []any{b.j.lockKey, int32(lockOutbox)})
		}
		b.queue("numbering events", outboxAssign, []any{n, o.assigned})
		o.assigned = o.promised
	}
	b.queued = append(b.queued, o.postponed...)
	o.postponed = nil
}
