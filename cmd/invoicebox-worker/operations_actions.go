package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/secretfile"
)

// operationAction is a command about one operation in attention.
type operationAction struct {
	actionFlags
	ID string `arg:"" name:"id" help:"The operation's id, as listed and as the events' operationid."`
}

type (
	operationsProbe          struct{ operationAction }
	operationsRetry          struct{ bulkAction }
	operationsClose          struct{ bulkAction }
	operationsSetCredentials struct {
		operationAction
		MerchantID string `name:"merchant-id" group:"command" required:"" placeholder:"ID" help:"The merchant id, as Invoicebox's support gave it. Required."`
		TokenFile  string `name:"shop-token-file" group:"command" default:"-" placeholder:"FILE" help:"File with the shop's token, readable by its owner only; - is standard input (default ${default})."`
	}
)

// Run requests a probe.
func (c *operationsProbe) Run(ctx context.Context, s *settings, env environment) error {
	return c.submitAction(ctx, s, env, onboarding.ActionProbe, nil)
}

// Run requests a retry.
func (c *operationsRetry) Run(ctx context.Context, s *settings, env environment) error {
	return c.run(ctx, s, env, onboarding.ActionRetry)
}

// Run requests the end of the operation. The end is final, so the audit trail needs a reason.
func (c *operationsClose) Run(ctx context.Context, s *settings, env environment) error {
	return c.run(ctx, s, env, onboarding.ActionClose)
}

// Run requests that merchant id and token are stored. The token is sealed before it is
// written.
func (c *operationsSetCredentials) Run(ctx context.Context, s *settings, env environment) error {
	return c.submitAction(ctx, s, env, onboarding.ActionSetCredentials, func(keys *keyset.Set, i *journal.Intent, shop journal.ShopKey) error {
		token, err := c.token(env)
		if err != nil {
			return err
		}
		if err := engine.ValidateEntered(c.MerchantID, token); err != nil {
			return fmt.Errorf("merchant id and token are not of the form that Invoicebox gives: %w", err)
		}
		i.MerchantID = c.MerchantID
		return engine.SealEntered(keys, i, shop, token)
	})
}

func (c *operationsSetCredentials) token(env environment) (secret.String, error) {
	if c.TokenFile != "-" {
		f, err := secretfile.Open("shop-token-file", c.TokenFile, secretfile.Token, nil)
		if err != nil {
			return secret.String{}, fmt.Errorf("--shop-token-file: %w", err)
		}
		return f.Get(), nil
	}
	if env.stdin == nil {
		return secret.String{}, errors.New("there is no standard input to read the token from; give --shop-token-file")
	}
	doc, err := io.ReadAll(io.LimitReader(env.stdin, secretfile.MaxBytes+1))
	if err != nil {
		return secret.String{}, errors.New("standard input, which should hold the token, cannot be read")
	}
	token, err := secretfile.Read(doc, secretfile.Token)
	clear(doc)
	if err != nil {
		return token, fmt.Errorf("standard input, which should hold the token, %w", err)
	}
	return token, nil
}

// operationID reads an id as it is listed, whole: no other form of a UUID.
func operationID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != len(uuid.UUID{}.String()) {
		return uuid.UUID{}, &usageError{"an operation's id is a whole UUID, as `operations list` shows it"}
	}
	return id, nil
}

// submitAction requests an action on the operation. If the operation's state does not permit
// it, the command reports that at once. The worker decides by the state that it finds later.
func (c *operationAction) submitAction(
	ctx context.Context, s *settings, env environment, command onboarding.Action, fill func(*keyset.Set, *journal.Intent, journal.ShopKey) error,
) error {
	if err := c.check(); err != nil {
		return err
	}
	id, err := operationID(c.ID)
	if err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		d, err := s.operation(ctx, j, id)
		if err != nil {
			return err
		}
		if why := onboarding.CheckAction(command, d.Kind, d.State, onboarding.Reason(d.Reason), d.Doubt); why != nil {
			return fmt.Errorf("nothing was asked for: %w", why)
		}
		i := journal.Intent{Act: string(command), Account: d.Shop.Account, Operation: id}
		var seal func(*keyset.Set, *journal.Intent) error
		if fill != nil {
			seal = func(keys *keyset.Set, i *journal.Intent) error { return fill(keys, i, d.Shop) }
		}
		return c.submit(ctx, s, j, env, i, seal)
	})
}
