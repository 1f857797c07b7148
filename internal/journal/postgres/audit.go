package postgres

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
)

// audit appends an entry.
func (t *tx) audit(e journal.AuditEntry) error {
	at := t.j.clock.stamp(e.At)
	if at == 0 {
		at = t.now
	}
	_, err := t.exec(auditInsert, at, e.Actor, e.Act, e.Subject, e.Detail)
	return err
}

const auditInsert = "INSERT INTO audit (at, actor, act, subject, detail) VALUES ($1, $2, $3, $4, $5)"

// AppendAudit appends an entry; also beside a worker.
func (j *Journal) AppendAudit(ctx context.Context, e journal.AuditEntry) error {
	if !j.beside {
		return j.submit(ctx, 0, needs{}, func(t *tx) error { return t.audit(e) })
	}
	if j.closed.Load() {
		return journal.ErrClosed
	}
	at := j.clock.stamp(e.At)
	if at == 0 {
		at = j.clock.micros()
	}
	err := j.bounded(ctx, func(ctx context.Context) error {
		_, err := j.readers.Exec(ctx, auditInsert, at, e.Actor, e.Act, e.Subject, e.Detail)
		return err
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Audit lists entries, the newest first, with ids below before; 0 begins at the newest.
func (j *Journal) Audit(ctx context.Context, before int64, limit int) ([]journal.AuditEntry, error) {
	var es []journal.AuditEntry
	err := j.read(ctx, "SELECT id, at, actor, act, subject, detail FROM audit WHERE $1::bigint = 0 OR id < $1 ORDER BY id DESC LIMIT $2", func(r row) error {
		es = append(es, journal.AuditEntry{ID: r.int(0), At: wall(r.int(1)), Actor: r.text(2), Act: r.text(3), Subject: r.text(4), Detail: r.text(5)})
		return nil
	}, before, bounded(limit))
	return es, err
}

// bounded keeps a caller's limit within what is decent.
func bounded(limit int) int64 { return int64(min(max(limit, 1), 1000)) }
