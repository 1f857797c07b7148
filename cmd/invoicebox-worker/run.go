package main

import (
	"context"

	"invoicebox-worker/cmd/internal/worker"
)

// runCommand is the service.
type runCommand struct{}

// Run runs the service until ctx ends.
func (c *runCommand) Run(ctx context.Context, s *settings, env environment) error {
	log := s.logger(env.stderr)
	for _, near := range s.nearMisses {
		log.Warn("environment variable belongs to no setting and is ignored", "variable", near.Variable, "did_you_mean", near.Meant)
	}
	o, err := s.options(log)
	if err != nil {
		return err
	}
	return worker.Run(ctx, o)
}
