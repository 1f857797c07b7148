package steps

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

const (
	acceptedAgain Query = "UPDATE account SET refused_in_row = 0 WHERE id = $1 AND refused_in_row > 0"
	moreInRow     Query = "UPDATE account SET refused_in_row = refused_in_row + $2 WHERE id = $1"
	refusedInRow  Query = "SELECT refused_in_row AS n FROM account WHERE id = $1"

	// reviewColumns are all columns of a [rows.Review], in their order.
	reviewColumns = "shop, account, version, operation, state, routine, due_at, claim, refused, tries, told"

	// A claim skips the rows that other replicas have locked.
	dueReviews Query = "SELECT " + reviewColumns + ` FROM review /*+ INDEXED BY review_due */
		WHERE account = $1 AND routine = $2 AND due_at <= $3 ORDER BY due_at, shop LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED`
	reviewsAhead Query = "SELECT " + reviewColumns + ` FROM review /*+ INDEXED BY review_due */
		WHERE account = $1 AND routine = $2 AND due_at > $3 ORDER BY due_at DESC, shop DESC LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED`
	nextReview Query = `SELECT due_at AS n FROM review /*+ INDEXED BY review_due */ WHERE account = $1 AND routine = $2 ORDER BY due_at LIMIT 1`

	reviewDetails Query = `SELECT v.shop, v.claim, v.state, v.refused, v.tries, v.told, s.name AS shop_name,
			c.version, c.reference, c.merchant_id, c.secret, c.created, b.uuid, o.run, e.event_id, e.traceparent, e.tracestate
		FROM review v CROSS JOIN shop s CROSS JOIN credential c CROSS JOIN operation o CROSS JOIN event b LEFT JOIN event e ON e.id = o.event
		WHERE v.shop = ANY($1) AND s.id = v.shop AND c.shop = v.shop AND c.version = v.version AND o.id = v.operation AND b.id = o.id`
)

// ClaimReviews claims due reviews.
func (j *Journal) ClaimReviews(ctx context.Context, r journal.ReviewRequest) (journal.ClaimedReviews, error) {
	if r.Lease <= 0 || r.Horizon < 0 {
		return journal.ClaimedReviews{}, fmt.Errorf("journal: invalid claim of reviews for %v with a horizon of %v", r.Lease, r.Horizon)
	}
	return ask(ctx, j, &Request{Last: true}, func(u *Unit) (journal.ClaimedReviews, error) { return u.claimReviews(r) })
}

type reviewDetail struct {
	rows.Review
	ShopName    string `db:"shop_name"`
	Reference   string `db:"reference"`
	MerchantID  string `db:"merchant_id"`
	Secret      []byte `db:"secret"`
	Created     int64  `db:"created"`
	UUID        []byte `db:"uuid"`
	Run         int64  `db:"run"`
	EventID     string `db:"event_id"`
	TraceParent string `db:"traceparent"`
	TraceState  string `db:"tracestate"`
}

func (u *Unit) claimReviews(r journal.ReviewRequest) (got journal.ClaimedReviews, err error) {
	account, err := u.accountID(r.Account)
	if err != nil {
		return got, err
	}
	taken, err := u.takeReviews(r, account)
	if err != nil {
		return got, err
	}
	shops := make([]int64, len(taken))
	for i, v := range taken {
		v.Claim++
		v.DueAt = u.now + r.Lease.Microseconds()
		shops[i] = v.Shop
	}
	if err := u.flush(); err != nil {
		return got, err
	}
	of := make(map[int64]*reviewDetail, len(taken))
	next := func(n *number) {
		if at := u.clock.Instant(n.N); got.Next.IsZero() || at.Before(got.Next) {
			got.Next = at
		}
	}
	asks := []Ask{
		asking(refusedInRow, func(n *number) { got.InRow = int(n.N) }, account),
		asking(nextReview, next, account, stored.Flag(false)),
	}
	if r.Routine {
		asks = append(asks, asking(nextReview, next, account, stored.Flag(true)))
	}
	if len(shops) > 0 {
		asks = append(asks, asking(reviewDetails, func(d *reviewDetail) { of[d.Shop] = d }, shops))
	}
	if err := u.tx.Load(asks); err != nil {
		return got, u.fail(err)
	}
	for _, shop := range shops {
		if d := of[shop]; d != nil {
			got.Reviews = append(got.Reviews, u.review(r.Account, d))
		}
	}
	return got, nil
}

// takeReviews finds due reviews, in the order in which they are to be checked.
func (u *Unit) takeReviews(r journal.ReviewRequest, account int64) (taken []*rows.Review, err error) {
	take := func(q Query, routine bool, at int64) {
		limit := min(r.Limit, maxClaim) - len(taken)
		if err != nil || limit <= 0 {
			return
		}
		var more []*rows.Review
		more, err = loadRows(u, &u.reviews, q, account, stored.Flag(routine), at, int64(limit))
		taken = append(taken, more...)
	}
	take(dueReviews, false, u.now)
	if r.Routine {
		take(dueReviews, true, u.now)
		if r.Horizon > 0 {
			take(reviewsAhead, true, u.now+r.Horizon.Microseconds())
		}
	}
	return taken, err
}

func (u *Unit) review(account string, d *reviewDetail) journal.Review {
	v := journal.Review{
		Ref: journal.ReviewRef{Shop: d.Shop, Claim: d.Claim}, State: d.State, Tries: int(d.Tries), Told: int(d.Told),
		Credential: journal.Credential{
			Shop: journal.ShopKey{Account: account, Shop: d.ShopName}, Version: d.Version, Reference: d.Reference, MerchantID: d.MerchantID, Sealed: d.Secret, At: wall(d.Created),
		},
		Operation: asUUID(d.UUID), Run: int(d.Run), EventID: d.EventID, TraceParent: d.TraceParent, TraceState: d.TraceState,
	}
	if d.Refused != 0 {
		v.Refused = u.clock.Instant(d.Refused)
	}
	return v
}

// EndReview saves the result of a check of credentials.
func (j *Journal) EndReview(ctx context.Context, e journal.ReviewEnd) error {
	return j.db.Write(ctx, &Request{
		Needs: Needs{ShopIDs: []int64{e.Ref.Shop}},
		Load: func(l *Loader) {
			l.reviews = append(l.reviews, e.Ref.Shop)
			l.IDs(OutboxIDs, len(e.Publish))
			if len(e.Publish) > 0 {
				l.shops = append(l.shops, e.Ref.Shop)
			}
			for i := range e.Publish {
				l.events = append(l.events, eventKey{e.Ref.Shop, e.Publish[i].ID})
			}
		},
		Do: func(u *Unit) error { return u.endReview(&e) },
	})
}

func (u *Unit) endReview(e *journal.ReviewEnd) error {
	v, err := u.reviews.get(u, e.Ref.Shop)
	if err != nil {
		return err
	}
	if v == nil || v.Claim != e.Ref.Claim {
		return journal.ErrStale
	}
	first := e.Answer == journal.ReviewRefused && v.Refused == 0
	v.State, v.Routine, v.DueAt = e.State, e.Routine, u.stampOrNow(e.Due)
	v.Claim++
	v.Told += int64(len(e.Publish))
	v.Tries++
	switch e.Answer {
	case journal.ReviewAccepted:
		v.Refused, v.Tries = 0, 0
		u.countRefusals(v.Account, refusals{reset: true})
	case journal.ReviewRefused:
		if first {
			v.Refused = u.now
		}
	}
	if e.Answer == journal.ReviewAccepted || e.Move != nil {
		o, err := u.operations.get(u, v.Operation)
		if err != nil {
			return err
		}
		if o != nil {
			if err := u.moveEnded(o, e.Move); err != nil {
				return err
			}
			if e.Answer == journal.ReviewAccepted {
				u.markVerified(o)
			}
		}
	}
	if len(e.Publish) > 0 {
		s, err := u.shops.get(u, v.Shop)
		if err != nil {
			return err
		}
		if s == nil {
			return fmt.Errorf("journal: shop %d of a review does not exist", v.Shop)
		}
		if err := u.emit(s, v.Operation, e.Publish); err != nil {
			return err
		}
	}
	if e.Audit != nil {
		u.audit(*e.Audit)
	}
	if first {
		n := u.refusals[v.Account]
		u.countRefusals(v.Account, refusals{n.reset, n.more + 1})
	}
	return nil
}

// refusals are the change of an account's refused_in_row by a transaction.
type refusals struct {
	reset bool  // credentials were accepted: the count begins again at 0
	more  int64 // refusals to add, after the reset if there was one
}

// countRefusals replaces the change of an account's refused_in_row.
func (u *Unit) countRefusals(account int64, n refusals) {
	was := u.refusals[account]
	u.undo(func() { u.refusals[account] = was })
	u.refusals[account] = n
}

// saveRefusals updates the accounts whose credentials were checked. It does so after all
// requests and in the order of the ids, because the updates lock rows that replicas share.
func (u *Unit) saveRefusals() {
	for _, account := range slices.Sorted(maps.Keys(u.refusals)) {
		n := u.refusals[account]
		if n.reset {
			u.later(acceptedAgain, account)
		}
		if n.more > 0 {
			u.later(moreInRow, account, n.more)
		}
	}
	clear(u.refusals)
}

// beginReview inserts or replaces the review of a shop that has new current credentials.
func (u *Unit) beginReview(o *rows.Operation, tr *journal.Transition) error {
	r, err := u.reviews.get(u, o.Shop)
	if err != nil {
		return err
	}
	if r != nil && r.Operation != o.ID {
		before, err := u.operations.get(u, r.Operation)
		if err != nil {
			return err
		}
		if before != nil {
			if err := u.moveEnded(before, tr.Active.Replaced); err != nil {
				return err
			}
			u.markVerified(before)
		}
	}
	state := journal.CredentialPending
	if tr.Verified {
		state = journal.CredentialVerified
		u.countRefusals(o.Account, refusals{reset: true})
	}
	next := rows.Review{Shop: o.Shop, Account: o.Account, Version: o.Version, Operation: o.ID, State: state, Routine: tr.Verified, DueAt: u.stampOrNow(tr.Active.Review)}
	if r == nil {
		u.reviews.add(u, o.Shop, next)
		return nil
	}
	next.Claim = r.Claim + 1
	if r.Version == next.Version {
		next.Told = r.Told
	}
	*r = next
	return nil
}

// markVerified marks an activation as verified, so that its receipts can be erased.
func (u *Unit) markVerified(o *rows.Operation) {
	if o.Verified == 0 {
		o.Verified = u.now
	}
}

// moveEnded moves an ended activation to another end. A late response still waits to
// be compared afterwards, and a claim for that remains valid.
func (u *Unit) moveEnded(o *rows.Operation, m *journal.ActivationMove) error {
	if m == nil {
		return nil
	}
	if m.From.Open() || m.To.Open() {
		return fmt.Errorf("journal: a review can move only ended operations, not from %v to %v", m.From, m.To)
	}
	if o.State == m.From && (m.Was == "" || o.Reason == m.Was) {
		o.State, o.Reason, o.Changed = m.To, m.Reason, u.now
	}
	return nil
}
