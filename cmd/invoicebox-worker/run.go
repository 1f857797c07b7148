package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/visible"
)

// runCommand is the service.
type runCommand struct {
	outputFlag
	DryRun bool `name:"dry-run" group:"command" help:"Read the records that the group has not committed, say what would be done about each, and end. Nothing is sent, committed, published or written. The journal is only read. Records of other providers are only counted. With --output json one object a line."`
}

// Run runs the service until ctx ends.
func (c *runCommand) Run(ctx context.Context, s *settings, env environment) error {
	if c.Output == "json" && !c.DryRun {
		return &usageError{"--output needs --dry-run"}
	}
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
	if c.DryRun {
		return c.dryRun(ctx, o, env.stdout, log)
	}
	o.LogLinesNotWritten = out.notWritten
	return app.Run(ctx, o)
}

type dryRecordJSON struct {
	Topic         string   `json:"topic"`
	Partition     int      `json:"partition"`
	Offset        int64    `json:"offset"` // -1 for a choice of another provider
	Step          string   `json:"step"`   // invite, activate, join, answer, attention, repeat, dead_letter, keep, deselect
	Account       string   `json:"account,omitzero"`
	Shop          string   `json:"shop,omitzero"`
	EventID       string   `json:"eventId,omitzero"`
	Operation     string   `json:"operation,omitzero"`
	Reason        string   `json:"reason,omitzero"`
	Where         string   `json:"where,omitzero"`
	Publishes     []string `json:"publishes,omitempty"`
	Cancels       int      `json:"cancels,omitzero"`
	NotRemembered bool     `json:"notRemembered,omitzero"` // a later record was planned without it, because there are too many
}

// dryRun prints what would be done, a line for each record.
func (c *runCommand) dryRun(ctx context.Context, o app.Options, w io.Writer, log *slog.Logger) error {
	sum, err := app.DryRun(ctx, o, func(r app.DryRecord) error {
		if c.Output != "json" {
			place := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
			if r.Offset >= 0 {
				place += fmt.Sprintf(" %d", r.Offset)
			}
			_, err := io.WriteString(w, visible.Text(place+": "+r.Words()+"\n"))
			return err
		}
		v := dryRecordJSON{
			Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Step: string(r.Step), Account: r.Shop.Account, Shop: r.Shop.Shop,
			EventID: r.EventID, Reason: r.Reason, Where: r.Where, Publishes: r.Publishes, Cancels: r.Cancels, NotRemembered: r.NotRemembered,
		}
		if r.Operation != uuid.Nil {
			v.Operation = r.Operation.String()
		}
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(append(visible.JSON(line), '\n'))
		return err
	})
	if err != nil {
		return err
	}
	log.Info("dry run ended", "records", sum.Words())
	return nil
}
