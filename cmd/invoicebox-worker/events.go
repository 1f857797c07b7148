package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// events are the commands about results.
type events struct {
	Reissue eventsReissue `cmd:"" settings:"journal-url,keyset-file" help:"Publish a shop's current result again, with the same id and the same bytes. The worker does it."`
}

type eventsReissue struct {
	actionFlags
	Of      string `arg:"" name:"shop-or-id" help:"The shop's id; or an operation's id, as in the events' operationid, for the newest result of that operation."`
	Account string `name:"account" group:"command" default:"default" help:"The shop's partner account (default ${default})."`
}

// Run asks the worker to publish a result again.
func (c *eventsReissue) Run(ctx context.Context, s *settings, env environment) error {
	if err := c.check(); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		o, err := c.find(ctx, j)
		if err != nil {
			return err
		}
		return c.submit(ctx, s, j, env, journal.Intent{Act: string(onboarding.ActionReissue), Account: o.Shop.Account, Operation: o.UUID}, nil)
	})
}

// find finds the operation of the result: the one that is named, else the one that
// produced the shop's result with the highest sequence.
func (c *eventsReissue) find(ctx context.Context, j journal.Journal) (o journal.OperationRecord, err error) {
	if id, err := uuid.Parse(c.Of); err == nil {
		d, err := j.Operation(ctx, id)
		if !errors.Is(err, journal.ErrNotFound) {
			return d.OperationRecord, err
		}
	}
	h, err := j.Shop(ctx, journal.ShopKey{Account: c.Account, Shop: c.Of})
	if err != nil && !errors.Is(err, journal.ErrNotFound) {
		return o, err
	}
	var highest int64
	for _, d := range h.Operations {
		for _, out := range d.Output {
			if out.Sequence > highest {
				o, highest = d.OperationRecord, out.Sequence
			}
		}
	}
	if highest == 0 {
		return o, fmt.Errorf("the journal has no result of shop %q in account %q, and no operation %s", c.Of, c.Account, c.Of)
	}
	return o, nil
}
