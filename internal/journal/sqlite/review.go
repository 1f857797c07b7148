package sqlite

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const (
	reviewColumns = `SELECT v.shop, v.claim, v.state, coalesce(v.refused, 0), v.tries, v.told, s.name,
			c.version, c.reference, c.merchant_id, c.secret, c.created,
			b.uuid, o.run, coalesce(e.event_id, ''), coalesce(e.traceparent, ''), coalesce(e.tracestate, '')
		FROM review v INDEXED BY review_due
			CROSS JOIN shop s ON s.id = v.shop CROSS JOIN credential c ON c.shop = v.shop AND c.version = v.version
			CROSS JOIN operation o ON o.id = v.operation CROSS JOIN operation_body b ON b.id = o.id LEFT JOIN event e ON e.id = o.event
		WHERE v.account = ? AND v.routine = ? AND `
	reviewDue   = reviewColumns + "v.due_at <= ? ORDER BY v.due_at, v.shop LIMIT ?"
	reviewAhead = reviewColumns + "v.due_at > ? ORDER BY v.due_at DESC, v.shop DESC LIMIT ?"
	reviewClaim = "UPDATE review SET claim = claim + 1, due_at = ? WHERE shop = ?"
	reviewNext  = "SELECT due_at FROM review INDEXED BY review_due WHERE account = ? AND routine = ? ORDER BY due_at LIMIT 1"

	reviewBegin = `INSERT INTO review (shop, account, version, operation, state, routine, due_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (shop) DO UPDATE SET version = excluded.version, operation = excluded.operation, state = excluded.state, routine = excluded.routine,
			due_at = excluded.due_at, claim = claim + 1, refused = NULL, tries = 0, told = CASE version WHEN excluded.version THEN told ELSE 0 END`
	reviewEnd = `UPDATE review SET state = ?, routine = ?, due_at = ?, claim = claim + 1, told = told + ?,
			refused = CASE ?5 WHEN 1 THEN NULL WHEN 2 THEN coalesce(refused, ?6) ELSE refused END, tries = CASE ?5 WHEN 1 THEN 0 ELSE tries + 1 END
		WHERE shop = ?7`
	// A late receipt that waits to be compared, and whoever does that, stay.
	moveEnded = "UPDATE operation SET state = ?, reason = ?, changed = ? WHERE id = ? AND state = ?"
)

// ClaimReviews takes due reviews.
func (j *Journal) ClaimReviews(ctx context.Context, r journal.ReviewRequest) (journal.ClaimedReviews, error) {
	if r.Lease <= 0 || r.Horizon < 0 {
		return journal.ClaimedReviews{}, fmt.Errorf("journal: reviews for %v with a horizon of %v make no sense", r.Lease, r.Horizon)
	}
	return ask(ctx, j, 0, func(t *tx) (journal.ClaimedReviews, error) { return t.claimReviews(r) })
}

func (t *tx) claimReviews(r journal.ReviewRequest) (got journal.ClaimedReviews, err error) {
	account, ok := t.j.writer.accounts[r.Account]
	if !ok {
		return got, fmt.Errorf("%w: account %q", journal.ErrNotFound, r.Account)
	}
	limit := min(r.Limit, maxClaim)
	take := func(query string, routine bool, at int64) error {
		if limit <= len(got.Reviews) {
			return nil
		}
		return t.each(query, in{account, stored.Flag(routine), at, limit - len(got.Reviews)}, func(c row) error {
			got.Reviews = append(got.Reviews, t.review(r.Account, c))
			return nil
		})
	}
	if err := take(reviewDue, false, t.now); err != nil {
		return got, err
	}
	if r.Routine {
		if err := take(reviewDue, true, t.now); err != nil {
			return got, err
		}
		if r.Horizon > 0 {
			if err := take(reviewAhead, true, t.now+r.Horizon.Microseconds()); err != nil {
				return got, err
			}
		}
	}
	for _, v := range got.Reviews {
		if _, err := t.exec(reviewClaim, t.now+r.Lease.Microseconds(), v.Ref.Shop); err != nil {
			return got, err
		}
	}
	for _, routine := range []bool{false, true} {
		if routine && !r.Routine {
			break
		}
		next, err := t.one(reviewNext, account, stored.Flag(routine))
		if err != nil {
			return got, err
		}
		if next != nil {
			if at := t.j.clock.instant(next.int(0)); got.Next.IsZero() || at.Before(got.Next) {
				got.Next = at
			}
		}
	}
	row, err := t.one("SELECT refused_in_row FROM account WHERE id = ?", account)
	if err == nil {
		got.InRow = int(row.int(0))
	}
	return got, err
}

func (t *tx) review(account string, c row) journal.Review {
	v := journal.Review{
		Ref: journal.ReviewRef{Shop: c.int(0), Claim: c.int(1) + 1}, State: journal.CredentialState(c.int(2)), // #nosec G115 -- our own numbers
		Tries: int(c.int(4)), Told: int(c.int(5)),
		Credential: credential(journal.ShopKey{Account: account, Shop: c.text(6)}, row{c[7], c[8], c[9], c[10], c[11]}),
		Operation:  asUUID(c.blob(12)), Run: int(c.int(13)), EventID: c.text(14), TraceParent: c.text(15), TraceState: c.text(16),
	}
	if at := c.int(3); at != 0 {
		v.Refused = t.j.clock.instant(at)
	}
	return v
}

// EndReview writes what a look at credentials brought.
func (j *Journal) EndReview(ctx context.Context, e journal.ReviewEnd) error {
	return j.submit(ctx, 0, func(t *tx) error { return t.endReview(e) })
}

func (t *tx) endReview(e journal.ReviewEnd) error {
	r, err := t.one(`SELECT v.account, v.operation, s.name, v.refused FROM review v CROSS JOIN shop s ON s.id = v.shop
		WHERE v.shop = ? AND v.claim = ?`, e.Ref.Shop, e.Ref.Claim)
	if err != nil {
		return err
	}
	if r == nil {
		return journal.ErrStale
	}
	account, operation := r.int(0), r.int(1)
	due := t.j.clock.stamp(e.Due)
	if due == 0 {
		due = t.now
	}
	if _, err := t.exec(reviewEnd, int64(e.State), stored.Flag(e.Routine), due, len(e.Publish), int64(e.Answer), t.now, e.Ref.Shop); err != nil {
		return err
	}
	switch {
	case e.Answer == journal.ReviewAccepted:
		if _, err := t.exec("UPDATE operation SET verified = ? WHERE id = ? AND verified IS NULL", t.now, operation); err != nil {
			return err
		}
		err = t.acceptedAgain(account)
	case e.Answer == journal.ReviewRefused && r.null(3):
		_, err = t.exec("UPDATE account SET refused_in_row = refused_in_row + 1 WHERE id = ?", account)
	}
	if err != nil {
		return err
	}
	if err := t.moveEnded(operation, e.Move); err != nil {
		return err
	}
	if err := t.emit(e.Publish, e.Ref.Shop, operation); err != nil {
		return err
	}
	if e.Audit != nil {
		return t.audit(*e.Audit)
	}
	return nil
}

// acceptedAgain ends a row of refused shops.
func (t *tx) acceptedAgain(account int64) error {
	_, err := t.exec("UPDATE account SET refused_in_row = 0 WHERE id = ? AND refused_in_row > 0", account)
	return err
}

func (t *tx) moveEnded(operation int64, m *journal.ActivationMove) error {
	if m == nil {
		return nil
	}
	if m.From.Open() || m.To.Open() {
		return fmt.Errorf("journal: a review moves only what has ended, not from %v to %v", m.From, m.To)
	}
	query, args := moveEnded, []any{int64(m.To), m.Reason, t.now, operation, int64(m.From)}
	if m.Was != "" {
		query, args = moveEnded+" AND reason = ?", append(args, m.Was)
	}
	_, err := t.exec(query, args...)
	return err
}

// beginReview follows a shop's new current credentials.
func (t *tx) beginReview(f facts, operation, version int64, tr journal.Transition) error {
	before, err := t.one("SELECT operation FROM review WHERE shop = ?", f.shop)
	if err != nil {
		return err
	}
	if before != nil && before.int(0) != operation {
		if err := t.moveEnded(before.int(0), tr.Active.Replaced); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE operation SET verified = ? WHERE id = ? AND verified IS NULL", t.now, before.int(0)); err != nil {
			return err
		}
	}
	due := t.j.clock.stamp(tr.Active.Review)
	if due == 0 {
		due = t.now
	}
	state := journal.CredentialPending
	if tr.Verified {
		state = journal.CredentialVerified
		if err := t.acceptedAgain(f.account); err != nil {
			return err
		}
	}
	_, err = t.exec(reviewBegin, f.shop, f.account, version, operation, int64(state), stored.Flag(tr.Verified), due)
	return err
}

// openReviews brings reviews over from processes before: what is open is due,
// and since when credentials are refused is counted from now.
func openReviews(c *conn, now int64) error {
	if _, err := c.exec("UPDATE review SET refused = ? WHERE refused IS NOT NULL", now); err != nil {
		return err
	}
	_, err := c.exec(`UPDATE review SET due_at = ? WHERE shop IN
		(SELECT v.shop FROM account a CROSS JOIN review v INDEXED BY review_due ON v.account = a.id AND v.routine = 0 AND v.due_at > ?)`, now, now)
	return err
}
