package sqlite

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// auditOn appends an entry on a connection other than the writer's, in its transaction.
func (j *Journal) auditOn(c *conn, e journal.AuditEntry) error {
	at := j.clock.stamp(e.At)
	if at == 0 {
		at = j.clock.micros()
	}
	e.At = time.UnixMicro(at)
	last, err := c.one("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")
	if err != nil {
		return err
	}
	if last == nil {
		e = journal.NextAudit(0, nil, e)
	} else {
		e = journal.NextAudit(last.int(0), last.blob(1), e)
	}
	_, err = c.exec("INSERT INTO audit (id, at, actor, act, subject, detail, hash) VALUES (?, ?, ?, ?, ?, ?, ?)", e.ID, at, e.Actor, e.Act, e.Subject, e.Detail, e.Hash)
	return err
}
