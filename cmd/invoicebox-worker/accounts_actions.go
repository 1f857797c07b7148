package main

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// accountAction is a command about one account's circuit breaker.
type accountAction struct {
	actionFlags
	Account string `arg:"" name:"account" help:"The account's name, as accounts list shows it."`
}

type (
	accountsPause  struct{ accountAction }
	accountsResume struct{ accountAction }
	accountsCheck  struct{ accountAction }
)

// Run asks the worker to pause an account.
func (c *accountsPause) Run(ctx context.Context, s *settings, env environment) error {
	return c.submitAction(ctx, s, env, onboarding.ActionPause)
}

// Run asks the worker to resume a paused account.
func (c *accountsResume) Run(ctx context.Context, s *settings, env environment) error {
	return c.submitAction(ctx, s, env, onboarding.ActionResume)
}

// Run asks the worker to check the account's token now.
func (c *accountsCheck) Run(ctx context.Context, s *settings, env environment) error {
	return c.submitAction(ctx, s, env, onboarding.ActionCheck)
}

// submitAction leaves it to the worker whether the circuit breaker changes: the journal may have it
// a moment later.
func (c *accountAction) submitAction(ctx context.Context, s *settings, env environment, command onboarding.Action) error {
	if err := c.check(); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		list, err := j.Accounts(ctx)
		if err != nil {
			return err
		}
		for _, a := range list {
			if a.Name == c.Account {
				return c.submit(ctx, s, j, env, journal.Intent{Act: string(command), Account: a.Name}, nil)
			}
		}
		return fmt.Errorf("there is no account %q in %s", c.Account, s.JournalURL)
	})
}
