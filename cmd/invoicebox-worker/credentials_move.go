package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// storeGroup are the commands about credential stores.
type storeGroup struct {
	Move credentialsMove `cmd:"" settings:"journal-url,keyset-file" help:"Move the merchant ids and tokens that shops use to another store, and publish the new references. The running worker does it; nothing is moved twice."`
}

type credentialsMove struct {
	actionFlags
	To      string `name:"to" group:"command" required:"" enum:"sealed,openbao,vault" placeholder:"STORE" help:"The store: sealed, openbao or vault. Required."`
	Account string `name:"account" group:"command" placeholder:"NAME" help:"Only shops of this account; by default of all accounts."`
	Shop    string `name:"shop" group:"command" placeholder:"ID" help:"Only this shop; with --account if there are several accounts."`
	DryRun  bool   `name:"dry-run" group:"command" help:"Only count the shops whose credentials would be moved."`
}

// moveJSON is the move in one account.
type moveJSON struct {
	Account string      `json:"account"`
	To      string      `json:"to"`
	Shops   int         `json:"shops"` // whose credentials were in another store before the move
	Left    int         `json:"left"`  // whose credentials still are
	Action  *actionJSON `json:"action,omitzero"`
}

// Run asks for a move in each account, and waits for their ends.
func (c *credentialsMove) Run(ctx context.Context, s *settings, env environment) error {
	if err := c.check(); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		accounts, err := c.accounts(ctx, j, s)
		if err != nil {
			return err
		}
		var views []moveJSON
		var failed error
		deadline := time.Now().Add(c.Wait)
		for _, account := range accounts {
			view, err := c.move(ctx, s, j, account, deadline)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("account %s: %w", account, err))
			}
			views = append(views, view)
		}
		return errors.Join(c.write(env.stdout, views, func(w io.Writer) { c.print(w, views) }), failed)
	})
}

// accounts lists the accounts of the command.
func (c *credentialsMove) accounts(ctx context.Context, j journal.Journal, s *settings) ([]string, error) {
	list, err := j.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range list {
		names = append(names, a.Name)
	}
	switch {
	case c.Account != "" && !slices.Contains(names, c.Account):
		return nil, fmt.Errorf("there is no account %q in %s", c.Account, s.JournalURL)
	case c.Account != "":
		return []string{c.Account}, nil
	case c.Shop != "" && len(names) > 1:
		return nil, &usageError{"--shop needs --account, because there are several accounts"}
	}
	return names, nil
}

// move requests the move in an account, waits for its end until a deadline, and counts the
// shops that are left. If any are left, it returns an error.
func (c *credentialsMove) move(ctx context.Context, s *settings, j journal.Journal, account string, deadline time.Time) (moveJSON, error) {
	view := moveJSON{Account: account, To: c.To}
	intent := journal.Intent{Account: account}
	var err error
	if view.Shops, intent.Operation, err = c.elsewhere(ctx, j, account); err != nil {
		return view, err
	}
	view.Left = view.Shops
	if view.Shops == 0 || c.DryRun {
		return view, nil
	}
	action, _ := onboarding.MoveActionTo(c.To)
	intent.Act = string(action)
	id, err := c.request(ctx, s, j, intent, nil)
	if err != nil {
		return view, err
	}
	one := c.actionFlags
	one.Wait = max(0, time.Until(deadline))
	ended, err := one.waitForResult(ctx, j, id)
	if err != nil {
		return view, err
	}
	asked := actionView(ended)
	view.Action = &asked
	if view.Left, _, err = c.elsewhere(ctx, j, account); err != nil {
		return view, err
	}
	switch {
	case ended.State == journal.IntentRefused:
		return view, errors.New("refused: " + ended.Detail)
	case ended.State == journal.IntentWaiting && c.Wait > 0:
		return view, fmt.Errorf("it has not ended within %s: %d of %d shops are left; a worker continues, and `credentials move --dry-run` shows how far it is", c.Wait, view.Left, view.Shops)
	case ended.State == journal.IntentPerformed && view.Left > 0:
		return view, errors.New(ended.Detail)
	}
	return view, nil
}

func (c *credentialsMove) print(w io.Writer, views []moveJSON) {
	var rows [][]any
	for _, v := range views {
		state, detail := "", ""
		switch {
		case v.Action != nil:
			state, detail = v.Action.State, v.Action.Detail
		case v.Shops == 0:
			detail = "nothing to move"
		}
		rows = append(rows, []any{v.Account, v.To, v.Shops, v.Left, state, detail})
	}
	printTable(w, []any{"account", "to", "shops", "left", "action", "result"}, rows, "no accounts")
}

// elsewhere counts the shops whose credentials are in another store. Of a single shop it
// also returns the activation.
func (c *credentialsMove) elsewhere(ctx context.Context, j journal.Journal, account string) (n int, operation uuid.UUID, err error) {
	if c.Shop != "" {
		key := journal.ShopKey{Account: account, Shop: c.Shop}
		row, err := j.PublishedCredential(ctx, key)
		if errors.Is(err, journal.ErrNotFound) {
			return 0, operation, fmt.Errorf("shop %q has no credentials in use", c.Shop)
		}
		if err != nil || onboarding.InStore(row.Reference, c.To) {
			return 0, operation, err
		}
		h, err := j.Shop(ctx, key)
		if err != nil {
			return 0, operation, err
		}
		if h.Active == nil {
			return 0, operation, fmt.Errorf("shop %q has no credentials in use", c.Shop)
		}
		return 1, h.Active.Operation, nil
	}
	f := journal.ShopFilter{Account: account, Stage: journal.ActiveShop, Limit: 1000}
	for {
		page, err := j.Shops(ctx, f)
		if err != nil {
			return 0, operation, err
		}
		for _, shop := range page {
			f.Before = shop.ID
			if !onboarding.InStore(shop.Reference, c.To) {
				n++
			}
		}
		if len(page) < f.Limit {
			return n, operation, nil
		}
	}
}
