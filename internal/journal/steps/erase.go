package steps

import (
	"context"
	"slices"
	"strings"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// The statements that erase a shop's data. Rows stay, with the values that recognize a
// repeated event, address or code. References and published events stay too; they contain
// no personal data.
const (
	eventsErase Query = `UPDATE event SET subject = NULL, subject_key = NULL, traceparent = '', tracestate = ''
		WHERE shop = $1 AND (subject IS NOT NULL OR traceparent <> '' OR tracestate <> '')`
	answersErase Query = `UPDATE attempt SET answer = NULL, answer_key = NULL, answer_at = NULL, sealed_for = '', mac = NULL
		WHERE operation IN (SELECT id FROM event WHERE shop = $1 AND uuid IS NOT NULL) AND (answer IS NOT NULL OR mac IS NOT NULL)`
	intentErase             = "UPDATE intent SET note = '', merchant_id = '', token = NULL, token_key = NULL, detail = '', mac = NULL WHERE state <> 1 AND "
	intentsErase      Query = intentErase + "shop = $1"
	operatorActsErase Query = intentErase + "operation IN (SELECT id FROM event WHERE shop = $1 AND uuid IS NOT NULL)"
	lettersErase      Query = `UPDATE dead_letter SET record = NULL, record_key = NULL, digest = NULL, replay_due = NULL, message_key = CASE WHEN shop = '' THEN message_key ELSE '' END
		WHERE (shop = $1 OR shop = '' AND message_key = $1) AND account IN ($2, '')`

	// subjectMissing gives an operation that runs again the address or code of the new
	// event, if its own was erased. If another look-up key made the MAC, it cannot, and
	// the operation will wait for an operator.
	subjectMissing Query = "UPDATE event SET subject = $2, subject_key = $3 WHERE id = $1 AND mac = $4 AND uuid IS NOT NULL AND subject IS NULL"
)

// erase erases the personal data of a shop whose operations have ended.
func (u *Unit) erase(s *rows.Shop) {
	account := u.accountName(s.Account)
	s.MerchantID, s.InvitationID, s.RemindDue = "", "", 0
	for _, x := range []struct {
		query Query
		args  []any
	}{{eventsErase, []any{s.ID}}, {answersErase, []any{s.ID}}, {intentsErase, []any{s.ID}}, {operatorActsErase, []any{s.ID}}, {lettersErase, []any{s.Name, account}}} {
		u.exec(x.query, x.args...)
	}
	u.forget()
}

const (
	shopNamed Query = "SELECT s.name, a.name AS account_name FROM shop s JOIN account a ON a.id = s.account WHERE s.id = $1"
	// detailsOf reads the whole audit trail.
	detailsOf    Query = "SELECT d.id, a.act FROM audit_detail d JOIN audit a ON a.id = d.id WHERE a.subject = $1 OR d.shop = $2 ORDER BY d.id"
	detailsErase Query = "DELETE FROM audit_detail WHERE id = ANY($1)"
)

// detailsAtOnce is how many details one transaction erases, so that other work does not
// wait long.
const detailsAtOnce = 500

// EraseAuditDetails erases the details of the audit entries about a shop. It finds
// them without the writer.
func (j *Journal) EraseAuditDetails(ctx context.Context, shop int64, kept []string, audit journal.AuditEntry) (erased int, err error) {
	subject := ""
	if err := read(ctx, j, shopNamed, []any{shop}, func(r *struct {
		Name    string `db:"name"`
		Account string `db:"account_name"`
	}) error {
		subject = r.Account + "/" + r.Name
		return nil
	}); err != nil {
		return 0, err
	}
	var ids []int64
	if err := read(ctx, j, detailsOf, []any{subject, shop}, func(r *struct {
		ID  int64  `db:"id"`
		Act string `db:"act"`
	}) error {
		if !slices.ContainsFunc(kept, func(begin string) bool { return strings.HasPrefix(r.Act, begin) }) {
			ids = append(ids, r.ID)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	for part := range slices.Chunk(ids, detailsAtOnce) {
		if err := j.db.Write(ctx, &Request{Records: len(part), Do: func(u *Unit) error {
			u.exec(detailsErase, part)
			numbered := audit
			numbered.Detail = journal.FormatNumbers(part)
			u.audit(numbered)
			return nil
		}}); err != nil {
			return erased, err
		}
		erased += len(part)
	}
	return erased, nil
}

// Scrub rewrites the database.
func (j *Journal) Scrub(ctx context.Context) (done bool, err error) {
	if err := j.db.Writable(); err != nil {
		return false, err
	}
	return j.db.Scrub(ctx)
}

var _ journal.ShopActions = (*Journal)(nil)
