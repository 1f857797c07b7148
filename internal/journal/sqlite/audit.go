package sqlite

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// auditOn appends an entry on a connection other than the writer's, in its transaction.
func (j *Journal) auditOn(c *conn, e journal.AuditEntry) error {
	at := j.clock.Stamp(e.At)
	if at == 0 {
		at = j.clock.Now()
	}
	e.At = time.UnixMicro(at)
	e = e.Salted()
	last, err := c.one("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")
	if err != nil {
		return err
	}
	if last == nil {
		e = journal.NextAudit(0, nil, e)
	} else {
		e = journal.NextAudit(last.int(0), last.blob(1), e)
	}
	if _, err = c.exec("INSERT INTO audit (id, at, actor, act, subject, detail_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?)", e.ID, at, e.Actor, e.Act, e.Subject, e.Digest, e.Hash); err != nil || e.Detail == "" {
		return err
	}
	_, err = c.exec("INSERT INTO audit_detail (id, salt, detail) VALUES (?, ?, ?)", e.ID, e.Salt, e.Detail)
	return err
}
