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
	resetRejections       Query = "UPDATE account SET consecutive_rejections = 0 WHERE id = $1 AND consecutive_rejections > 0"
	addRejections         Query = "UPDATE account SET consecutive_rejections = consecutive_rejections + $2 WHERE id = $1"
	consecutiveRejections Query = "SELECT consecutive_rejections AS n FROM account WHERE id = $1"

	// shopColumns are all columns of a [rows.Shop], in their order.
	shopColumns = `id, account, name, sequence, version, merchant_id, invited_operation, invited_at, invited_event_time, invited_mac, invitation_id,
		active_operation, active_at, active_version, active_event, disconnected_at, remind_due, reminded, review_state, review_routine, review_due, review_claim, review_refused, review_tries, review_events`

	// A claim skips the rows that other replicas have locked.
	dueReviews Query = "SELECT " + shopColumns + ` FROM shop /*+ INDEXED BY shop_review */
		WHERE account = $1 AND review_routine = $2 AND review_due <= $3 ORDER BY review_due, id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED`
	reviewsAhead Query = "SELECT " + shopColumns + ` FROM shop /*+ INDEXED BY shop_review */
		WHERE account = $1 AND review_routine = $2 AND review_due > $3 ORDER BY review_due DESC, id DESC LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED`
	nextReview Query = `SELECT review_due AS n FROM shop /*+ INDEXED BY shop_review */
		WHERE account = $1 AND review_routine = $2 AND review_due IS NOT NULL ORDER BY review_due LIMIT 1`

	reviewDetails Query = `SELECT s.id, s.name, s.active_version, s.review_state, s.review_claim, s.review_refused, s.review_tries, s.review_events,
			c.reference, c.merchant_id, c.secret, c.created, b.uuid, o.run, e.event_id, e.traceparent, e.tracestate
		FROM shop s CROSS JOIN credential c CROSS JOIN operation o CROSS JOIN event b LEFT JOIN event e ON e.id = o.event
		WHERE s.id = ANY($1) AND c.shop = s.id AND c.version = s.active_version AND o.id = s.active_operation AND b.id = o.id`
)

// ClaimReviews claims due reviews.
func (j *Journal) ClaimReviews(ctx context.Context, r journal.ReviewRequest) (journal.ClaimedReviews, error) {
	if r.Lease <= 0 || r.Horizon < 0 {
		return journal.ClaimedReviews{}, fmt.Errorf("journal: invalid claim of reviews for %v with a horizon of %v", r.Lease, r.Horizon)
	}
	return ask(ctx, j, &Request{Last: true}, func(u *Unit) (journal.ClaimedReviews, error) { return u.claimReviews(r) })
}

type reviewDetail struct {
	rows.Shop
	originRow
	Reference string `db:"reference"`
	Secret    []byte `db:"secret"`
	Created   int64  `db:"created"`
}

// An originRow is the operation that a shop's credentials or its invitation are from,
// with the event that began its run.
type originRow struct {
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
	taken := u.takeReviews(r, account)
	shops := make([]int64, len(taken))
	for i, v := range taken {
		v.ReviewClaim++
		v.ReviewDue = u.now + r.Lease.Microseconds()
		shops[i] = v.ID
	}
	u.flush()
	of := make(map[int64]*reviewDetail, len(taken))
	next := func(due int64) {
		if at := u.clock.Instant(due); got.Next.IsZero() || at.Before(got.Next) {
			got.Next = at
		}
	}
	asks := []Ask{
		askingInts(consecutiveRejections, func(n int64) { got.Consecutive = int(n) }, account),
		askingInts(nextReview, next, account, stored.Flag(false)),
	}
	if r.Routine {
		asks = append(asks, askingInts(nextReview, next, account, stored.Flag(true)))
	}
	if len(shops) > 0 {
		asks = append(asks, asking(reviewDetails, func(d *reviewDetail) { of[d.ID] = d }, shops))
	}
	u.load(asks...)
	for _, shop := range shops {
		if d := of[shop]; d != nil {
			got.Reviews = append(got.Reviews, u.review(r.Account, d))
		}
	}
	return got, nil
}

// takeReviews finds due reviews, in the order in which they are to be checked.
func (u *Unit) takeReviews(r journal.ReviewRequest, account int64) (taken []*rows.Shop) {
	take := func(q Query, routine bool, at int64) {
		limit := min(r.Limit, maxClaim) - len(taken)
		if limit > 0 {
			taken = append(taken, loadRows(u, &u.shops, q, account, stored.Flag(routine), at, int64(limit))...)
		}
	}
	take(dueReviews, false, u.now)
	if r.Routine {
		take(dueReviews, true, u.now)
		if r.Horizon > 0 {
			take(reviewsAhead, true, u.now+r.Horizon.Microseconds())
		}
	}
	return taken
}

func (u *Unit) review(account string, d *reviewDetail) journal.Review {
	v := journal.Review{
		Ref: journal.ReviewRef{Shop: d.ID, Claim: d.ReviewClaim}, State: d.ReviewState, Tries: int(d.ReviewTries), Events: int(d.ReviewEvents),
		Credential: journal.Credential{
			Shop: journal.ShopKey{Account: account, Shop: d.Name}, Version: d.ActiveVersion, Reference: d.Reference, MerchantID: d.MerchantID, Sealed: d.Secret, At: displayTime(d.Created),
		},
		Operation: asUUID(d.UUID), Run: int(d.Run), EventID: d.EventID, TraceParent: d.TraceParent, TraceState: d.TraceState,
	}
	if d.ReviewRefused != 0 {
		v.Refused = u.clock.Instant(d.ReviewRefused)
	}
	return v
}

// EndReview saves the result of a check of credentials.
func (j *Journal) EndReview(ctx context.Context, e journal.ReviewEnd) error {
	return j.db.Write(ctx, &Request{
		Needs: Needs{ShopIDs: []int64{e.Ref.Shop}},
		Load: func(l *Loader) {
			l.shops = append(l.shops, e.Ref.Shop)
			l.IDs(OutboxIDs, len(e.Publish))
			for i := range e.Publish {
				l.events = append(l.events, eventKey{e.Ref.Shop, e.Publish[i].ID})
			}
		},
		Do: func(u *Unit) error { return u.endReview(&e) },
	})
}

func (u *Unit) endReview(e *journal.ReviewEnd) error {
	s := u.shops.get(u, e.Ref.Shop)
	if s == nil || s.ReviewClaim != e.Ref.Claim {
		return journal.ErrStale
	}
	first := e.Answer == journal.ReviewRefused && s.ReviewRefused == 0
	s.ReviewState, s.ReviewRoutine, s.ReviewDue = e.State, e.Routine, u.stampOrNow(e.Due)
	s.ReviewClaim++
	s.ReviewEvents += int64(len(e.Publish))
	s.ReviewTries++
	switch e.Answer {
	case journal.ReviewAccepted:
		s.ReviewRefused, s.ReviewTries = 0, 0
		u.countRefusals(s.Account, refusals{reset: true})
	case journal.ReviewRefused:
		if first {
			s.ReviewRefused = u.now
		}
	}
	if e.Answer == journal.ReviewAccepted || e.Move != nil {
		if o := u.operations.get(u, s.ActiveOperation); o != nil {
			if err := u.moveEnded(o, e.Move); err != nil {
				return err
			}
			if e.Answer == journal.ReviewAccepted {
				u.markVerified(o)
			}
		}
	}
	if err := u.emit(s, s.ActiveOperation, e.Publish); err != nil {
		return err
	}
	if e.Audit != nil {
		u.audit(*e.Audit)
	}
	if first {
		n := u.refusals[s.Account]
		u.countRefusals(s.Account, refusals{n.reset, n.more + 1})
	}
	return nil
}

// refusals are the change of an account's consecutive_rejections by a transaction.
type refusals struct {
	reset bool  // credentials were accepted: the count begins again at 0
	more  int64 // refusals to add, after the reset if there was one
}

// countRefusals replaces the change of an account's consecutive_rejections.
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
			u.later(resetRejections, account)
		}
		if n.more > 0 {
			u.later(addRejections, account, n.more)
		}
	}
	clear(u.refusals)
}

// beginReview begins the review of a shop's new current credentials. Was is the shop with
// those before.
func (u *Unit) beginReview(o *rows.Operation, s *rows.Shop, was rows.Shop, tr *journal.Transition) error {
	if was.ActiveOperation != 0 && was.ActiveOperation != o.ID {
		if before := u.operations.get(u, was.ActiveOperation); before != nil {
			if err := u.moveEnded(before, tr.Active.Replaced); err != nil {
				return err
			}
			u.markVerified(before)
		}
	}
	s.ReviewState = journal.CredentialPending
	if tr.Verified {
		s.ReviewState = journal.CredentialVerified
		u.countRefusals(o.Account, refusals{reset: true})
	}
	if was.ActiveVersion != s.ActiveVersion {
		s.ReviewEvents = 0
	}
	if was.ActiveOperation != 0 {
		s.ReviewClaim++
	}
	s.ReviewRoutine, s.ReviewDue, s.ReviewRefused, s.ReviewTries = tr.Verified, u.stampOrNow(tr.Active.Review), 0, 0
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
