package steps

import (
	"bytes"
	"context"
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const previewShop Query = "SELECT " + shopColumns + " FROM shop WHERE account = $1 AND name = $2"

// A readTx reads like a transaction, and locks and changes nothing. The planner's view
// needs no other method than Load.
type readTx struct {
	Tx
	load func(Ask) error
}

// Load runs queries.
func (t readTx) Load(asks []Ask) error {
	for _, a := range asks {
		if err := t.load(a); err != nil {
			return err
		}
	}
	return nil
}

// Preview returns what the inbox and the planner would see of an event at this moment.
func (j *Journal) Preview(ctx context.Context, e journal.Event) (p journal.Preview, err error) {
	defer catchAbort(&err)
	u := newUnit(j, readTx{load: func(a Ask) error { return j.db.Read(ctx, a.Query, a.Args, a.Each) }})
	u.load(Ask{Query: inboxKnown, Args: []any{[][]byte{e.Identity[:]}}, Each: u.foundIdentity})
	if digest, known := u.intake.inbox[e.Identity]; known {
		same := slices.ContainsFunc(e.Digests, func(d []byte) bool { return bytes.Equal(d, digest) })
		return journal.Preview{Known: same, Reused: !same}, nil
	}
	s := &rows.Shop{}
	if err := read(ctx, j, accountByName, []any{e.Shop.Account}, func(r *rows.Account) error {
		s.Account = r.ID
		return nil
	}); err != nil {
		return p, err
	}
	if err := read(ctx, j, previewShop, []any{s.Account, e.Shop.Shop}, func(r *rows.Shop) error {
		s = r
		return nil
	}); err != nil {
		return p, err
	}
	if s.ID == 0 {
		u.intake.open[0], u.intake.fresh[0] = []int64{}, true
	} else {
		u.load(u.askActive([]int64{s.ID}))
	}
	return journal.Preview{View: u.view(s, &e).ShopView}, nil
}
