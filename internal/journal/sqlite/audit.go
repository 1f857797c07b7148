package sqlite

import (
	"invoicebox-worker/internal/journal"
)

const auditInsert = "INSERT INTO audit (at, actor, act, subject, detail) VALUES (?, ?, ?, ?, ?)"

// auditOn appends an entry on a connection other than the writer's.
func (j *Journal) auditOn(c *conn, e journal.AuditEntry) error {
	at := j.clock.stamp(e.At)
	if at == 0 {
		at = j.clock.micros()
	}
	_, err := c.exec(auditInsert, at, e.Actor, e.Act, e.Subject, e.Detail)
	return err
}
