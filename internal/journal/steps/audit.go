package steps

import "invoicebox-worker/internal/journal"

const auditInsert Query = "INSERT INTO audit (at, actor, act, subject, detail) VALUES ($1, $2, $3, $4, $5)"

// audit appends an entry.
func (u *Unit) audit(e journal.AuditEntry) {
	u.later(auditInsert, u.stampOrNow(e.At), e.Actor, e.Act, e.Subject, e.Detail)
}
