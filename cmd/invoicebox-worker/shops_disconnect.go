package main

import (
	"context"
	"errors"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// shopAction is a command that asks a worker to act on one shop.
type shopAction struct {
	actionFlags
	Shop    string `arg:"" name:"shop" help:"The shop's id."`
	Account string `name:"account" group:"command" default:"default" help:"The shop's partner account (default ${default})."`
}

// shopsDisconnect disconnects a shop.
type shopsDisconnect struct{ shopAction }

// Run requests that a shop is disconnected.
func (c *shopsDisconnect) Run(ctx context.Context, s *settings, env environment) error {
	return c.submitAction(ctx, s, env, onboarding.ActionDisconnect)
}

// shopsErase erases the personal data of a shop.
type shopsErase struct {
	shopAction
	Yes bool `name:"yes" group:"command" help:"Do not ask for confirmation."`
}

// Run requests that the personal data of a shop is erased.
func (c *shopsErase) Run(ctx context.Context, s *settings, env environment) error {
	if err := c.check(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(env.stderr, "erase the personal data of shop %s of account %s; this cannot be undone\n", c.Shop, c.Account)
	if !c.Yes && !confirmed(env) {
		return errors.New("nothing was asked for: it was not confirmed; answer yes, or add --yes")
	}
	return c.submitAction(ctx, s, env, onboarding.ActionErase)
}

// submitAction leaves it to the worker whether the action is permitted.
func (c *shopAction) submitAction(ctx context.Context, s *settings, env environment, action onboarding.Action) error {
	if err := c.check(); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		err := c.submit(ctx, s, j, env, journal.Intent{Act: string(action), Account: c.Account, Shop: c.Shop}, nil)
		if errors.Is(err, journal.ErrNotFound) {
			return fmt.Errorf("nothing is known of shop %q in account %q", c.Shop, c.Account)
		}
		return err
	})
}
