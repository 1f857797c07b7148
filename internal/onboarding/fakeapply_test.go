package onboarding

import (
	"context"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
)

func (f *fakeJournal) Apply(ctx context.Context, t journal.Transition) error {
	return f.step(ctx, "apply", func() error {
		op, err := f.own(t.Ref, t.From)
		if t.Intent != nil {
			op, err = f.unowned(t)
		}
		if err != nil {
			return err
		}
		if c := t.Credential; c != nil {
			for shop, list := range f.creds {
				for _, known := range list {
					if shop == c.Shop && known.MerchantID != c.MerchantID || shop != c.Shop && known.MerchantID == c.MerchantID {
						return journal.ErrMerchantConflict
					}
					if shop == c.Shop && known.Version == c.Version {
						return journal.ErrVersionTaken
					}
				}
			}
		}
		if active := f.active[op.Shop]; t.Current != 0 && active != nil && active.Version > t.Current {
			return journal.ErrOlderVersion
		}
		if active := f.active[op.Shop]; t.Active != nil && t.Credential != nil && active != nil && active.Version > t.Credential.Version {
			return journal.ErrOlderVersion
		}
		var frozen []fakeEvent
		for _, d := range t.Publish {
			m, err := d.Freeze(int64(len(f.events) + len(frozen) + 1))
			if err != nil {
				return err
			}
			frozen = append(frozen, fakeEvent{d, op.UUID, m})
		}
		f.events = append(f.events, frozen...)
		f.byHand(op, t)
		if t.Credential != nil {
			f.creds[op.Shop] = append(f.creds[op.Shop], *t.Credential)
			op.Credential, op.StoredAt = t.Credential, time.Now()
		}
		if t.Active != nil {
			f.beginReview(op, t)
			f.active[op.Shop] = &journal.ActiveView{At: t.Active.At, MerchantID: op.Credential.MerchantID, Version: op.Credential.Version, Operation: op.UUID, Event: t.Active.Event}
		}
		if t.Invited != nil {
			f.invited[op.Shop]++
		}
		if t.End != nil {
			f.endAttempt(t.Attempt, *t.End)
			if t.End.NotSent && op.Unknowns > 0 {
				op.probes--
			}
		}
		if t.From == journal.Sending && t.To == journal.Unknown {
			op.Unknowns++
			op.Closed = t.End.At
		}
		if t.Supersede != "" {
			f.supersedeOlder(op, t.Supersede, t.Over, t.Unsent)
		}
		f.move(op, t.To)
		if t.NewRun && t.To == journal.Planned {
			op.State = journal.Queued // advanced below, where the lane is free
		}
		if t.Behind && slices.ContainsFunc(f.ops, func(o *fakeOp) bool { return o.Shop == op.Shop && o.State == journal.Queued && !o.last }) {
			f.move(op, journal.Queued)
			op.last = true
		}
		op.held, op.due, op.Reason = false, t.Due, t.Reason
		if t.Due.IsZero() {
			op.due = time.Now()
		}
		op.Doubt = op.Doubt || t.Doubt
		op.late = op.late && !t.Compared
		if t.Verified {
			op.verified = time.Now()
		}
		if t.Audit != nil {
			f.notes = append(f.notes, t.Audit.Detail)
		}
		if t.To == journal.Waiting {
			op.Waits++
		}
		f.advance(op.Shop)
		if op.stage() != 0 {
			f.signal()
		}
		return nil
	})
}
