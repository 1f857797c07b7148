package steps

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
)

// EndIntent ends an intent whose effect is none, or on a gate.
func (j *Journal) EndIntent(ctx context.Context, e journal.IntentEnd) error {
	return j.db.Write(ctx, &Request{
		Load: func(l *Loader) { l.intents = append(l.intents, e.ID) },
		Do:   func(u *Unit) error { return u.endIntent(e) },
	})
}

func (u *Unit) endIntent(e journal.IntentEnd) error {
	if e.State != journal.IntentPerformed && e.State != journal.IntentRefused {
		return fmt.Errorf("journal: no intent ends as %v", e.State)
	}
	i, err := u.intents.get(u, e.ID)
	if err != nil {
		return err
	}
	if i == nil || i.State != journal.IntentWaiting {
		return journal.ErrStale
	}
	i.State, i.Result, i.Detail, i.Ended, i.Token, i.TokenKey = e.State, e.Result, e.Detail, u.now, nil, 0
	if e.Gate != nil {
		a, err := u.account(i.Account)
		if err != nil {
			return err
		}
		if err := u.setGate(a, *e.Gate); err != nil {
			return err
		}
	}
	u.audit(e.Audit)
	return nil
}
