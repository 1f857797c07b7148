package main

import (
	"context"

	"invoicebox-worker/internal/app"
)

// runCommand is the service.
type runCommand struct{}

// Run runs the service until ctx ends.
func (c *runCommand) Run(ctx context.Context, s *settings, env environment) error {
	forbidCoreDumps()
	env.keepGoing()
	out := newLogOutput(env.stderr)
	defer out.flush(flushLogsFor)
	log := s.loggerTo(out, isTerminal(env.stderr))
	for _, near := range s.given.NearMisses {
		log.Warn("environment variable belongs to no setting and is ignored", "variable", near.Variable, "did_you_mean", near.Meant)
	}
	o, err := s.options(log)
	if err != nil {
		return err
	}
	o.LogLinesNotWritten = out.notWritten
	return app.Run(ctx, o)
}
