package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/schemas"
)

// A historian is a journal that can be told that it does not know what was sent.
type historian interface {
	Positions(ctx context.Context) ([]journal.Position, error)
	UnknownHistory(ctx context.Context) error
}

// doubtHistory lets the ledgers wait where a new journal serves a group that
// has run before: it may have sent as much as the limits allow just now.
func doubtHistory(ctx context.Context, o *Options, j historian, conn *kafkaconn.Conn, log *slog.Logger) error {
	known, err := j.Positions(ctx)
	if err != nil || len(known) > 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	var inputs []string
	for _, t := range schemas.InputTypes() {
		inputs = append(inputs, o.Topic(t))
	}
	ran, err := consumer.GroupHasRun(ctx, conn, o.Group, inputs)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("kafka did not say within %s whether group %q has run before; brokers: %s", reachWithin, o.Group, strings.Join(conn.Brokers(), ","))
	case err != nil:
		return fmt.Errorf("ask kafka whether group %q has run before: %w", o.Group, err)
	case !ran:
		return nil
	}
	log.Warn("the journal is new and its group has run before: no request is sent for one window and the slack", "group", o.Group)
	return j.UnknownHistory(ctx)
}
