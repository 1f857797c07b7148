package steps

import (
	"context"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const (
	auditRead  Query = "SELECT id, at, actor, act, subject, detail, hash FROM audit WHERE $1::bigint = 0 OR id < $1 ORDER BY id DESC LIMIT $2"
	auditAfter Query = "SELECT id, at, actor, act, subject, detail, hash FROM audit WHERE id > $1 ORDER BY id LIMIT $2"
	auditLast  Query = "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1"
)

// audit appends an entry.
func (u *Unit) audit(e journal.AuditEntry) {
	u.audits = append(u.audits, rows.Audit{At: u.stampOrNow(e.At), Actor: e.Actor, Act: e.Act, Subject: e.Subject, Detail: e.Detail})
}

// appendAudits numbers the entries of the transaction and inserts them. It is the last
// that a transaction does, so that the lock is held for a short time and no other lock is
// acquired under it, but that of the outbox.
func (u *Unit) appendAudits() error {
	if len(u.audits) == 0 {
		return nil
	}
	u.tx.LockAudit()
	last := rows.Audit{}
	if err := u.tx.Load([]Ask{asking(auditLast, func(r *rows.Audit) { last = *r })}); err != nil {
		return u.fail(err)
	}
	for i := range u.audits {
		r := &u.audits[i]
		r.ID = last.ID + 1
		r.Hash = journal.AuditHash(last.Hash, auditEntry(r))
		last = *r
		u.insert(u.j.tables.audit, r)
	}
	return u.flush()
}

func auditEntry(r *rows.Audit) journal.AuditEntry {
	return journal.AuditEntry{ID: r.ID, At: wall(r.At), Actor: r.Actor, Act: r.Act, Subject: r.Subject, Detail: r.Detail, Hash: r.Hash}
}

// AppendAudit appends entries; also beside a worker.
func (j *Journal) AppendAudit(ctx context.Context, entries ...journal.AuditEntry) error {
	return j.db.Write(ctx, &Request{Beside: true, Do: func(u *Unit) error {
		for _, e := range entries {
			u.audit(e)
		}
		return nil
	}})
}

// Audit lists entries, the newest first, with numbers below before; 0 begins at the newest.
func (j *Journal) Audit(ctx context.Context, before int64, limit int) ([]journal.AuditEntry, error) {
	return list(ctx, j, auditRead, []any{before, bounded(limit)}, auditEntry)
}

// AuditAfter lists entries, the oldest first, with numbers above after.
func (j *Journal) AuditAfter(ctx context.Context, after int64, limit int) ([]journal.AuditEntry, error) {
	return list(ctx, j, auditAfter, []any{after, bounded(limit)}, auditEntry)
}
