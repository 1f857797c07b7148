package onboarding

import (
	"cmp"
	"context"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
)

// A fakeReview is a shop's review.
type fakeReview struct {
	journal.Review
	op      *fakeOp
	due     time.Time
	routine bool
	looks   []journal.ReviewAnswer
}

func (f *fakeJournal) beginReview(op *fakeOp, t journal.Transition) {
	if f.reviews == nil {
		f.reviews = map[journal.ShopKey]*fakeReview{}
	}
	shop := int64(len(f.reviews) + 1)
	v := &fakeReview{op: op, due: t.Active.Review, routine: t.Verified}
	if before := f.reviews[op.Shop]; before != nil {
		shop, v.Ref.Claim = before.Ref.Shop, before.Ref.Claim+1
		if before.op != op {
			f.moveEnded(before.op, t.Active.Replaced)
		}
	}
	v.Review = journal.Review{
		Ref: journal.ReviewRef{Shop: shop, Claim: v.Ref.Claim}, Credential: *op.Credential, State: journal.CredentialPending,
		Operation: op.UUID, Run: op.Run, EventID: op.EventID,
	}
	if t.Verified {
		v.State, f.inRow = journal.CredentialVerified, 0
	}
	f.reviews[op.Shop] = v
}

func (f *fakeJournal) moveEnded(op *fakeOp, m *journal.ActivationMove) {
	if m != nil && op.State == m.From && (m.Was == "" || op.Reason == m.Was) {
		f.move(op, m.To)
		op.Reason = m.Reason
	}
}

func (f *fakeJournal) ClaimReviews(ctx context.Context, r journal.ReviewRequest) (got journal.ClaimedReviews, err error) {
	err = f.step(ctx, "claim_reviews", func() error {
		now := time.Now()
		got.InRow = f.inRow
		var mine []*fakeReview
		for _, v := range f.reviews {
			if v.Credential.Shop.Account == r.Account && (r.Routine || !v.routine) {
				mine = append(mine, v)
			}
		}
		slices.SortFunc(mine, func(a, b *fakeReview) int {
			return cmp.Or(cmp.Compare(a.due.UnixNano(), b.due.UnixNano()), cmp.Compare(a.Ref.Shop, b.Ref.Shop))
		})
		for _, routine := range []bool{false, true} {
			for _, v := range mine {
				ahead := v.routine && r.Horizon > 0 && v.due.After(now.Add(r.Horizon))
				if v.routine == routine && len(got.Reviews) < r.Limit && (!v.due.After(now) || ahead) {
					v.Ref.Claim++
					v.due = now.Add(r.Lease)
					got.Reviews = append(got.Reviews, v.Review)
				}
			}
		}
		for _, v := range mine {
			got.Next = earliest(got.Next, v.due)
		}
		return nil
	})
	return got, err
}

func (f *fakeJournal) EndReview(ctx context.Context, e journal.ReviewEnd) error {
	return f.step(ctx, "end_review", func() error {
		var v *fakeReview
		for _, x := range f.reviews {
			if x.Ref == e.Ref {
				v = x
			}
		}
		if v == nil {
			return journal.ErrStale
		}
		var frozen []fakeEvent
		for _, d := range e.Publish {
			m, err := d.Freeze(int64(len(f.events) + len(frozen) + 1))
			if err != nil {
				return err
			}
			frozen = append(frozen, fakeEvent{d, v.Operation, m})
		}
		f.events = append(f.events, frozen...)
		v.Ref.Claim++
		v.Told += len(frozen)
		v.State, v.due, v.routine = e.State, e.Due, e.Routine
		v.looks = append(v.looks, e.Answer)
		v.Tries++
		switch {
		case e.Answer == journal.ReviewAccepted:
			v.Refused, v.Tries, f.inRow = time.Time{}, 0, 0
			if v.op.verified.IsZero() {
				v.op.verified = time.Now()
			}
		case e.Answer == journal.ReviewRefused && v.Refused.IsZero():
			v.Refused = time.Now()
			f.inRow++
		}
		f.moveEnded(v.op, e.Move)
		if e.Audit != nil {
			f.notes = append(f.notes, e.Audit.Detail)
		}
		return nil
	})
}

// looks gives what the reviews of a shop's credentials brought so far.
func (f *fakeJournal) looks(op *fakeOp) []journal.ReviewAnswer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.reviews[op.Shop]; v != nil {
		return slices.Clone(v.looks)
	}
	return nil
}
