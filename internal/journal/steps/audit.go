package steps

import (
	"context"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const (
	auditRead Query = `SELECT a.id, a.at, a.actor, a.act, a.subject, a.detail_hash, a.hash, d.salt, coalesce(d.detail, '') AS detail
		FROM audit a LEFT JOIN audit_detail d ON d.id = a.id WHERE $1::bigint = 0 OR a.id < $1 ORDER BY a.id DESC LIMIT $2`
	auditAfter Query = `SELECT a.id, a.at, a.actor, a.act, a.subject, a.detail_hash, a.hash, d.salt, coalesce(d.detail, '') AS detail
		FROM audit a LEFT JOIN audit_detail d ON d.id = a.id WHERE a.id > $1 ORDER BY a.id LIMIT $2`
	auditLast Query = "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1"
)

// An auditAppend is an entry to append. It stores the shop of the entry's operation,
// because the operation can be pruned before the shop's data is erased.
type auditAppend struct {
	journal.AuditEntry
	shop int64
}

const shopOfOperation Query = "SELECT shop AS id FROM event WHERE uuid = $1"

// audit appends an entry.
func (u *Unit) audit(e journal.AuditEntry) {
	e = e.Salted()
	e.At = displayTime(u.stampOrNow(e.At))
	a := auditAppend{AuditEntry: e}
	if id, err := uuid.Parse(e.Subject); err == nil && e.Detail != "" {
		a.shop = firstInt(u, shopOfOperation, id[:])
	}
	u.audits = append(u.audits, a)
}

// appendAudits numbers the entries of the transaction and inserts them. It is the last
// step of a transaction, so that it holds the lock for a short time, and acquires only the
// lock of the outbox under it.
func (u *Unit) appendAudits() {
	if len(u.audits) == 0 {
		return
	}
	u.tx.LockAudit()
	last := rows.Audit{}
	u.load(asking(auditLast, func(r *rows.Audit) { last = *r }))
	for _, a := range u.audits {
		e := journal.NextAudit(last.ID, last.Hash, a.AuditEntry)
		last = rows.Audit{ID: e.ID, At: e.At.UnixMicro(), Actor: e.Actor, Act: e.Act, Subject: e.Subject, Digest: e.Digest, Hash: e.Hash}
		row := last
		u.insert(u.j.tables.audit, &row)
		if e.Detail != "" {
			u.insert(u.j.tables.auditDetail, &rows.AuditDetail{ID: e.ID, Salt: e.Salt, Detail: e.Detail, Shop: a.shop})
		}
	}
	u.flush()
}

type auditRow struct {
	rows.Audit
	Salt   []byte `db:"salt"`
	Detail string `db:"detail"`
}

func auditEntry(r *auditRow) journal.AuditEntry {
	return journal.AuditEntry{ID: r.ID, At: displayTime(r.At), Actor: r.Actor, Act: r.Act, Subject: r.Subject, Detail: r.Detail, Salt: r.Salt, Digest: r.Digest, Hash: r.Hash}
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
