package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/schemas"
)

func newPruner(o *Options, j journal.Journal, conn *kafka.Cluster, registry prometheus.Registerer, log *slog.Logger) (*engine.Pruner, error) {
	return engine.NewPruner(engine.PrunerConfig{
		Journal: j, Retention: retention(o.InboxRetention), DeadLetterRetention: retention(o.DeadLetterRetention),
		InputRetention: func(ctx context.Context) (time.Duration, error) {
			return kafka.TopicRetention(ctx, conn, o.inputTopics()...)
		},
		Metrics: registry, Logger: log,
	})
}

// retention converts a setting, in which 0 is forever.
func retention(d time.Duration) time.Duration {
	if d == 0 {
		return engine.RetainForever
	}
	return d
}

func (o *Options) inputTopics() (topics []string) {
	for _, t := range schemas.InputTypes() {
		topics = append(topics, o.Topic(t))
	}
	return topics
}

// keptOf names the summands of kafka.TopicRetention.
const keptOf = "retention.ms, the age of a segment by segment.ms, and 1h"

// formatDays formats a duration: 720h0m0s is "30 days".
func formatDays(d time.Duration) string {
	const day = 24 * time.Hour
	short := func(d time.Duration) string {
		text := d.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	}
	switch {
	case d < 2*day:
		return short(d)
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return fmt.Sprintf("%d days and %s", d/day, short(d%day))
}

// checkRetention reports for how long the inbox will be retained.
func checkRetention(ctx context.Context, o Options, conn *kafka.Cluster) CheckResult {
	const name = "retention"
	keep := retention(o.InboxRetention)
	if keep < 0 {
		return CheckResult{name, CheckOK, "nothing is pruned: --inbox-retention is 0s"}
	}
	kept, err := kafka.TopicRetention(ctx, conn, o.inputTopics()...)
	switch {
	case err != nil:
		return CheckResult{name, CheckWarning, "the retention of the input topics cannot be read, and until then the inbox is kept for ever: " +
			"give the user the right to describe their configuration; " + err.Error()}
	case kept < 0:
		return CheckResult{name, CheckWarning, "an input topic keeps its records for ever, so the inbox is kept for ever: give it a retention.ms, and cleanup.policy delete"}
	case kept > keep:
		return CheckResult{name, CheckWarning, fmt.Sprintf("the input topics retain records for up to %s (%s), so the inbox is kept for the same time instead of --inbox-retention %s", formatDays(kept), keptOf, formatDays(keep))}
	}
	return CheckResult{name, CheckOK, fmt.Sprintf("the inbox is kept for %s; the input topics retain records for up to %s (%s)", formatDays(keep), formatDays(kept), keptOf)}
}
