package main

import (
	"context"

	"invoicebox-worker/internal/onboarding"
)

type operationsReread struct{ operationAct }

// Run asks that the kept response be read again.
func (c *operationsReread) Run(ctx context.Context, s *settings, env environment) error {
	return c.act(ctx, s, env, onboarding.CommandReread, nil)
}
