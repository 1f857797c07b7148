package postgres

import (
	"slices"
	"strings"

	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
)

// An outbox is what a transaction adds to the outbox. Ids of the outbox are in the order
// of the commits, so that a transaction holds a lock of all replicas from the first id to
// the commit. It acquires the lock with its last statements. Until then -1 is the first
// id that it will get, -2 the second, and the statements with such ids wait.
type outbox struct {
	handedOut, assigned int64
	late                []late
}

// handOut passes the next ids to a.
func (o *outbox) handOut(a *steps.Ask) error {
	for range a.N {
		o.handedOut++
		if err := a.Each(nil, []any{-o.handedOut}); err != nil {
			return err
		}
	}
	return nil
}

const (
	outboxLock = "SELECT pg_advisory_xact_lock($1, $2)"
	// outboxAssign assigns $1 more ids after the first $2. Under the lock ids have no gaps.
	outboxAssign = `SELECT set_config('invoicebox.outbox', (min(id) - 1 - $2)::text, TRUE)
		FROM (SELECT nextval('outbox_row'::regclass) AS id FROM generate_series(1, $1::bigint)) x`
)

// realOutboxID is an id, or the one that was assigned for a negative number.
func realOutboxID(id string) string {
	return "CASE WHEN " + id + " < 0 THEN (SELECT current_setting('invoicebox.outbox')::bigint) - " + id + " ELSE " + id + " END"
}

// outboxTables have columns with ids of the outbox.
func outboxTables() []string {
	return []string{"outbox", "outbox_pending", "outbox_published", "republish", "dead_letter", "announced"}
}

// hasOutboxID reports whether a column has ids of the outbox.
func hasOutboxID(x *rows.Table, c rows.Column) bool {
	return slices.Contains(outboxTables(), x.Name) && (c.Name == "outbox" || c.Name == "row" || c.Name == "id" && x.Name == "outbox")
}

// save queues a statement that saves rows.
func (b *batch) save(x *rows.Table, what, sql string, args []any) {
	if slices.Contains(outboxTables(), x.Name) {
		b.outbox.late = append(b.outbox.late, late{what: what, sql: sql, args: args, fails: errMissing})
		return
	}
	b.queue(what, sql, args)
}

// sendOutboxBefore queues what was added to the outbox if a statement may read it.
func (b *batch) sendOutboxBefore(sql string) {
	if len(b.outbox.late) > 0 && slices.ContainsFunc(outboxTables(), func(name string) bool { return strings.Contains(sql, name) }) {
		b.sendOutbox()
	}
}

// sendOutbox queues what was added to the outbox.
func (b *batch) sendOutbox() {
	o := &b.outbox
	if len(o.late) == 0 {
		return
	}
	if n := o.handedOut - o.assigned; n > 0 {
		if o.assigned == 0 {
			b.queue("locking the outbox", outboxLock, []any{b.j.lockKey, int32(lockOutbox)})
		}
		b.queue("numbering events", outboxAssign, []any{n, o.assigned})
		o.assigned = o.handedOut
	}
	b.late = append(b.late, o.late...)
	o.late = nil
}
