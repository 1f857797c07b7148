package postgres

import (
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
