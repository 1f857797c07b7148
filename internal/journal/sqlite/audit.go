package sqlite

import (
	"context"

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

const auditInsert = "INSERT INTO audit (at, actor, act, subject, detail) VALUES (?, ?, ?, ?, ?)"

// AppendAudit appends an entry; also beside a worker.
func (j *Journal) AppendAudit(ctx context.Context, e journal.AuditEntry) error {
	if j.writer != nil {
		return j.submit(ctx, 0, func(t *tx) error { return t.audit(e) })
	}
	if err := j.open(); err != nil {
		return err
	}
	return j.beside(func(c *conn) error { return j.auditOn(c, e) })
}

func (j *Journal) auditOn(c *conn, e journal.AuditEntry) error {
	at := j.clock.stamp(e.At)
	if at == 0 {
		at = j.clock.micros()
	}
	_, err := c.exec(auditInsert, at, e.Actor, e.Act, e.Subject, e.Detail)
	return err
}

// Audit lists entries, the newest first, with ids below before; 0 begins at the newest.
func (j *Journal) Audit(ctx context.Context, before int64, limit int) ([]journal.AuditEntry, error) {
	var es []journal.AuditEntry
	err := j.read(ctx, "SELECT id, at, actor, act, subject, detail FROM audit WHERE ?1 = 0 OR id < ?1 ORDER BY id DESC LIMIT ?2", in{before, bounded(limit)},
		func(scan scanner) error {
			var e journal.AuditEntry
			var at int64
			err := scan(&e.ID, &at, &e.Actor, &e.Act, &e.Subject, &e.Detail)
			e.At = wall(at)
			es = append(es, e)
			return err
		})
	return es, err
}

// bounded keeps a caller's limit within what is decent.
func bounded(limit int) int { return min(max(limit, 1), 1000) }
