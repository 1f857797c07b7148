package steps

import (
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// audit appends an entry.
func (u *Unit) audit(e journal.AuditEntry) {
	u.insert(u.j.tables.audit, &rows.Audit{At: u.stampOrNow(e.At), Actor: e.Actor, Act: e.Act, Subject: e.Subject, Detail: e.Detail})
}
