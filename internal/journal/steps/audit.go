package steps

import (
	"context"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const auditRead Query = "SELECT id, at, actor, act, subject, detail FROM audit WHERE $1::bigint = 0 OR id < $1 ORDER BY id DESC LIMIT $2"

// audit appends an entry.
func (u *Unit) audit(e journal.AuditEntry) {
	u.insert(u.j.tables.audit, &rows.Audit{At: u.stampOrNow(e.At), Actor: e.Actor, Act: e.Act, Subject: e.Subject, Detail: e.Detail})
}

// AppendAudit appends an entry; also beside a worker.
func (j *Journal) AppendAudit(ctx context.Context, e journal.AuditEntry) error {
	return j.db.Write(ctx, &Request{Beside: true, Do: func(u *Unit) error {
		u.audit(e)
		return nil
	}})
}

// Audit lists entries, the newest first, with ids below before; 0 begins at the newest.
func (j *Journal) Audit(ctx context.Context, before int64, limit int) ([]journal.AuditEntry, error) {
	return list(ctx, j, auditRead, []any{before, bounded(limit)}, func(r *rows.Audit) journal.AuditEntry {
		return journal.AuditEntry{ID: r.ID, At: wall(r.At), Actor: r.Actor, Act: r.Act, Subject: r.Subject, Detail: r.Detail}
	})
}
