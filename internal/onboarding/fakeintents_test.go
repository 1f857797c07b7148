package onboarding

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
)

// ask appends an intent as a command does.
func (f *fakeJournal) ask(keys *keyset.Set, i journal.Intent, token string) *journal.Intent {
	i.UUID, i.At, i.Actor, i.State = uuid.New(), time.Now(), "anna", journal.IntentWaiting
	if i.Account == "" {
		i.Account = "default"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i.MerchantID != "" {
		shop := journal.ShopKey{}
		if k := slices.IndexFunc(f.ops, func(op *fakeOp) bool { return op.UUID == i.Operation }); k >= 0 {
			shop = f.ops[k].Shop
		}
		if err := SealEntered(keys, &i, shop, secret.New(token)); err != nil {
			panic(err)
		}
	}
	var err error
	if i.MAC, err = keys.Authenticate(keyset.DomainIntent, i.Authentic()...); err != nil {
		panic(err)
	}
	i.ID = int64(len(f.intents) + 1)
	f.intents = append(f.intents, &i)
	return &i
}

func (f *fakeJournal) intent(i *journal.Intent) journal.Intent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *i
}

func (f *fakeJournal) IntentsChanged() <-chan struct{} { return f.asked }

func (f *fakeJournal) PendingIntents(ctx context.Context, limit int) (list []journal.PendingIntent, err error) {
	err = f.step(ctx, "pending_intents", func() error {
		for _, i := range f.intents {
			if i.State != journal.IntentWaiting || len(list) == limit {
				continue
			}
			x := journal.PendingIntent{Intent: *i}
			if k := slices.IndexFunc(f.ops, func(op *fakeOp) bool { return op.UUID == i.Operation }); k >= 0 {
				op := f.ops[k]
				x.Target = &journal.Target{ClaimedOperation: op.ClaimedOperation}
				x.Target.NextVersion = int64(len(f.creds[op.Shop]) + 1)
				x.Target.Active = f.active[op.Shop]
				if a := x.Target.Active; a != nil {
					x.Target.Current = &f.creds[op.Shop][a.Version-1]
					x.Target.CurrentVerified = true
				}
			}
			list = append(list, x)
		}
		return nil
	})
	return list, err
}

func (f *fakeJournal) EndIntent(ctx context.Context, e journal.IntentEnd) error {
	return f.step(ctx, "end_intent", func() error {
		i := f.intents[e.ID-1]
		if i.State != journal.IntentWaiting {
			return journal.ErrStale
		}
		if e.Gate != nil {
			f.accounts[i.Account].Gate = *e.Gate
		}
		f.endIntent(e)
		return nil
	})
}

func (f *fakeJournal) endIntent(e journal.IntentEnd) {
	i := f.intents[e.ID-1]
	i.State, i.Result, i.Detail, i.Ended, i.Sealed = e.State, e.Result, e.Detail, time.Now(), nil
	f.notes = append(f.notes, e.Audit.Actor+" "+e.Audit.Act+" "+e.Audit.Detail)
}

// unowned is own for an operation that nobody holds.
func (f *fakeJournal) unowned(t journal.Transition) (*fakeOp, error) {
	op := f.ops[t.Ref.Operation-1]
	if op.Ref != t.Ref || op.State != t.From || f.intents[t.Intent.ID-1].State != journal.IntentWaiting {
		return nil, journal.ErrStale
	}
	return op, nil
}

// byHand does what is special to acts of people.
func (f *fakeJournal) byHand(op *fakeOp, t journal.Transition) {
	if t.Intent != nil {
		f.endIntent(*t.Intent)
	}
	if t.NewRun {
		f.turns++
		op.Run, op.Waits, op.Planned, op.turn = op.Run+1, 0, time.Now(), f.turns
	}
	if t.Probe {
		op.Unknowns = max(op.Unknowns, 1)
	}
	if t.To == journal.Stored && t.From != journal.Stored {
		op.StoredAt = time.Now()
	}
	if t.Entered != nil {
		f.attempts++
		op.Receipt = &journal.StoredReceipt{Operation: op.UUID, Attempt: f.attempts, Sealed: t.Entered, SealedFor: t.EnteredFor, At: time.Now()}
		op.receipts++
	}
}
