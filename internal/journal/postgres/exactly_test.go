package postgres

import (
	"context"
	"errors"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
	"invoicebox-worker/internal/testutil/pgtest"
)

// COMMIT is sent together with the statements before it. If one of them changes fewer
// rows than it was given, nothing is committed.
func TestMissingRowsAreNoticedBeforeTheCommit(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	j := b.open()
	conn, err := j.dial(t.Context())
	b.ok(err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	operation, pending := rows.TableOf[rows.Operation]("operation"), rows.TableOf[rows.OutboxPending]("outbox_pending")
	kept := steps.Change{Table: pending, Insert: []any{&rows.OutboxPending{Row: 1, Outbox: 1}}}
	missing := &rows.Operation{ID: 1000, Reason: "x"}
	for name, change := range map[string]steps.Change{
		"an update": {Table: operation, Update: []steps.Update{{Row: missing, Was: &rows.Operation{ID: 1000}, Columns: operation.Changed(missing, &rows.Operation{ID: 1000})}}},
		"a delete":  {Table: pending, Delete: []any{&rows.OutboxPending{Row: 1000}}},
	} {
		tx := &stepTx{batch: newBatch(j, conn), ctx: t.Context(), texts: rowTexts{make(rows.Statements)}}
		_, err := conn.Exec(t.Context(), begin)
		b.ok(err)
		b.ok(tx.Save([]steps.Change{kept, change}))
		if err := tx.commit(t.Context()); !errors.Is(err, errTransaction) {
			t.Errorf("%s of a row that does not exist: %v", name, err)
		}
		tx.rollback(t.Context())
	}
	if n := b.server.Ask(t, j.config.Database, "SELECT count(*)::text FROM outbox_pending"); n != "0" {
		t.Errorf("%s rows were committed", n)
	}
	b.ok(j.AppendAudit(t.Context(), journal.AuditEntry{Act: "still here"}))
}
