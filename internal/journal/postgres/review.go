package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const (
	// A claim takes what no other replica is looking at, and was not taken by the same request.
	reviewClaim = `WITH due AS MATERIALIZED (SELECT shop, due_at FROM review
			WHERE account = $2 AND routine = $3 AND due_at %[1]s $4 AND shop <> ALL($6) ORDER BY due_at %[2]s, shop %[2]s LIMIT $5 FOR UPDATE SKIP LOCKED)
		UPDATE review SET claim = claim + 1, due_at = $1 WHERE shop = ANY(ARRAY(SELECT shop FROM due))
		RETURNING shop, array_position(ARRAY(SELECT shop FROM due ORDER BY due_at %[2]s, shop %[2]s), shop)`
	reviewRead = `SELECT v.shop, v.claim, v.state, coalesce(v.refused, 0), v.tries, v.told, s.name,
			c.version, c.reference, c.merchant_id, c.secret, c.created,
			b.uuid, o.run, coalesce(e.event_id, ''), coalesce(e.traceparent, ''), coalesce(e.tracestate, '')
		FROM review v
			JOIN shop s ON s.id = v.shop JOIN credential c ON c.shop = v.shop AND c.version = v.version
			JOIN operation o ON o.id = v.operation JOIN operation_body b ON b.id = o.id LEFT JOIN event e ON e.id = o.event
		WHERE v.shop = ANY($1)`
	reviewNext = "SELECT due_at FROM review WHERE account = $1 AND routine = $2 ORDER BY due_at LIMIT 1"

	reviewBegin = `INSERT INTO review (shop, account, version, operation, state, routine, due_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (shop) DO UPDATE SET version = excluded.version, operation = excluded.operation, state = excluded.state, routine = excluded.routine,
			due_at = excluded.due_at, claim = review.claim + 1, refused = NULL, tries = 0, told = CASE review.version WHEN excluded.version THEN review.told ELSE 0 END`
	reviewEnd = `UPDATE review SET state = $1, routine = $2, due_at = $3, claim = claim + 1, told = told + $4,
			refused = CASE $5::bigint WHEN 1 THEN NULL WHEN 2 THEN coalesce(refused, $6::bigint) ELSE refused END, tries = CASE $5::bigint WHEN 1 THEN 0 ELSE tries + 1 END
		WHERE shop = $7`
	// A late receipt that waits to be compared, and whoever does that, stay.
	moveEnded = "UPDATE operation SET state = $1, reason = $2, changed = $3 WHERE id = $4 AND state = $5 AND ($6 = '' OR reason = $6)"
)

var (
	reviewDue   = fmt.Sprintf(reviewClaim, "<=", "ASC")
	reviewAhead = fmt.Sprintf(reviewClaim, ">", "DESC")
)

// ClaimReviews takes due reviews.
func (j *Journal) ClaimReviews(ctx context.Context, r journal.ReviewRequest) (journal.ClaimedReviews, error) {
	if r.Lease <= 0 || r.Horizon < 0 {
		return journal.ClaimedReviews{}, fmt.Errorf("journal: reviews for %v with a horizon of %v make no sense", r.Lease, r.Horizon)
	}
	return askFor(ctx, j, 0, needs{}, func(t *tx) (journal.ClaimedReviews, error) { return t.claimReviews(r) })
}

func (t *tx) claimReviews(r journal.ReviewRequest) (got journal.ClaimedReviews, err error) {
	account, err := t.account(r.Account)
	if err != nil {
		return got, err
	}
	limit := min(r.Limit, maxClaim)
	shops := []int64{} // in the order in which they were taken
	take := func(which string, routine bool, at int64) error {
		if limit <= len(shops) {
			return nil
		}
		a, err := t.query(which, t.now+r.Lease.Microseconds(), account, stored.Flag(routine), at, int64(limit-len(shops)), slices.Clone(shops))
		slices.SortFunc(a.rows, func(a, b row) int { return cmp.Compare(a.int(1), b.int(1)) })
		shops = append(shops, idsOf(a.rows)...)
		return err
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
	asks := []ask{{"SELECT refused_in_row FROM account WHERE id = $1", []any{account}}, {reviewNext, []any{account, stored.Flag(false)}}}
	if r.Routine {
		asks = append(asks, ask{reviewNext, []any{account, stored.Flag(true)}})
	}
	if len(shops) > 0 {
		asks = append(asks, ask{reviewRead, []any{shops}})
	}
	as, err := t.together(asks...)
	if err != nil {
		return got, err
	}
	if len(shops) > 0 {
		for _, c := range as[len(as)-1].rows {
			got.Reviews = append(got.Reviews, t.review(r.Account, c))
		}
		as = as[:len(as)-1]
		slices.SortFunc(got.Reviews, func(a, b journal.Review) int {
			return cmp.Compare(slices.Index(shops, a.Ref.Shop), slices.Index(shops, b.Ref.Shop))
		})
	}
	got.InRow = int(as[0].rows[0].int(0))
	for _, a := range as[1:] {
		for _, next := range a.rows {
			if at := t.j.clock.instant(next.int(0)); got.Next.IsZero() || at.Before(got.Next) {
				got.Next = at
			}
		}
	}
	return got, nil
}

func (t *tx) review(account string, c row) journal.Review {
	v := journal.Review{
		Ref: journal.ReviewRef{Shop: c.int(0), Claim: c.int(1)}, State: journal.CredentialState(c.int(2)), // #nosec G115 -- our own numbers
		Tries: int(c.int(4)), Told: int(c.int(5)),
		Credential: credential(journal.ShopKey{Account: account, Shop: c.text(6)}, c[7:12]),
		Operation:  asUUID(c.blob(12)), Run: int(c.int(13)), EventID: c.text(14), TraceParent: c.text(15), TraceState: c.text(16),
	}
	if at := c.int(3); at != 0 {
		v.Refused = t.j.clock.instant(at)
	}
	return v
}

// EndReview writes what a look at credentials brought.
func (j *Journal) EndReview(ctx context.Context, e journal.ReviewEnd) error {
	n := needs{rows: []int64{e.Ref.Shop}}
	return j.submit(ctx, 0, n, func(t *tx) error { return t.endReview(e) })
}

func (t *tx) endReview(e journal.ReviewEnd) error {
	r, err := t.one(`SELECT v.account, v.operation, s.name, v.refused, a.name FROM review v JOIN shop s ON s.id = v.shop JOIN account a ON a.id = v.account
		WHERE v.shop = $1 AND v.claim = $2 FOR UPDATE OF v`, e.Ref.Shop, e.Ref.Claim)
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
	if _, err := t.exec(reviewEnd, int64(e.State), stored.Flag(e.Routine), due, int64(len(e.Publish)), int64(e.Answer), t.now, e.Ref.Shop); err != nil {
		return err
	}
	switch {
	case e.Answer == journal.ReviewAccepted:
		if err := t.seenToWork(operation); err != nil {
			return err
		}
		err = t.acceptedAgain(account)
	case e.Answer == journal.ReviewRefused && r.null(3):
		_, err = t.exec("UPDATE account SET refused_in_row = refused_in_row + 1 WHERE id = $1", account)
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
	_, err := t.exec("UPDATE account SET refused_in_row = 0 WHERE id = $1 AND refused_in_row > 0", account)
	return err
}

// seenToWork ends what an activation's receipts were kept for.
func (t *tx) seenToWork(operation int64) error {
	_, err := t.exec("UPDATE operation SET verified = $1 WHERE id = $2 AND verified IS NULL", t.now, operation)
	return err
}

func (t *tx) moveEnded(operation int64, m *journal.ActivationMove) error {
	if m == nil {
		return nil
	}
	if m.From.Open() || m.To.Open() {
		return fmt.Errorf("journal: a review moves only what has ended, not from %v to %v", m.From, m.To)
	}
	_, err := t.exec(moveEnded, int64(m.To), m.Reason, t.now, operation, int64(m.From), m.Was)
	return err
}

// beginReview follows a shop's new current credentials.
func (t *tx) beginReview(f facts, operation, version int64, tr journal.Transition) error {
	before, err := t.one("SELECT operation FROM review WHERE shop = $1", f.shop)
	if err != nil {
		return err
	}
	if before != nil && before.int(0) != operation {
		if err := t.moveEnded(before.int(0), tr.Active.Replaced); err != nil {
			return err
		}
		if err := t.seenToWork(before.int(0)); err != nil {
			return err
		}
	}
	due := t.j.clock.stamp(tr.Active.Review)
	if due == 0 {
		due = t.now
	}
	asks := []ask{}
	state := journal.CredentialPending
	if tr.Verified {
		state = journal.CredentialVerified
		asks = append(asks, ask{"UPDATE account SET refused_in_row = 0 WHERE id = $1 AND refused_in_row > 0", []any{f.account}})
	}
	_, err = t.together(append(asks, ask{reviewBegin, []any{f.shop, f.account, version, operation, int64(state), stored.Flag(tr.Verified), due}})...)
	return err
}
