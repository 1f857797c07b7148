package producer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/schemas"
)

// An Outbox is the part of [journal.Journal] that the relay uses.
type Outbox interface {
	OutboxChanged() <-chan struct{}
	Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.OutboxRow, error)
	MarkPublished(ctx context.Context, rows []journal.Published) error
	journal.RelayLeases
}

// Config configures a relay. Fields without a default are required.
type Config struct {
	Kafka  *kafka.Cluster
	Outbox Outbox
	// Authentic returns an error for a row that differs from what a worker of the
	// journal wrote. Such a row is not published and stays in the outbox.
	Authentic func(journal.OutboxRow) error
	Logger    *slog.Logger
	Metrics   *Metrics
	Tracer    *tracing.Tracer // nil: no spans
	// Topics maps event types to topics; a type that is not in it is the name of its
	// topic.
	Topics map[string]string

	// FlushTimeout bounds how long Run publishes the rest after its context has ended.
	// Default: 5 s.
	FlushTimeout time.Duration
	// BlockedRetry is how often the relay retries a blocked topic, and reads rows that
	// are not authentic again. Default: 15 s.
	BlockedRetry time.Duration
	// TopicTimeout is how long a missing topic counts as a temporary fault. Default: 5
	// s.
	TopicTimeout time.Duration
	// BatchRows and BatchBytes bound one request. Defaults: 500, and 900 kB, which is
	// below a broker's usual limit of 1 MB.
	BatchRows, BatchBytes int
}

const (
	minBackoff     = 50 * time.Millisecond
	maxBackoff     = 5 * time.Second
	slowResponse   = time.Second      // a slower request may have been refused because of its own delay
	requestTimeout = 35 * time.Second // the broker's own is 30 s

	maxQueueRows, maxQueueBytes       = 1000, 1 << 20    // of one partition
	maxBufferedRows, maxBufferedBytes = 16_000, 32 << 20 // of all
)

func (c *Config) setDefaults() error {
	if c.Kafka == nil || c.Outbox == nil || c.Authentic == nil || c.Logger == nil || c.Metrics == nil {
		return errors.New("producer: Kafka, Outbox, Authentic, Logger and Metrics are required")
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		usual time.Duration
	}{
		{"FlushTimeout", &c.FlushTimeout, 5 * time.Second}, {"BlockedRetry", &c.BlockedRetry, 15 * time.Second},
		{"TopicTimeout", &c.TopicTimeout, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
		if *d.value < 0 {
			return fmt.Errorf("producer: %s is negative", d.name)
		}
	}
	if c.BatchRows == 0 {
		c.BatchRows = 500
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 900_000
	}
	if c.BatchRows < 0 || c.BatchBytes < 0 {
		return errors.New("producer: BatchRows or BatchBytes is negative")
	}
	return nil
}

// topicOf returns the topic of an event type.
func (c *Config) topicOf(name string) string {
	if t := c.Topics[name]; t != "" {
		return t
	}
	return name
}

// topics lists the topics of all results.
func (c *Config) topics() []string {
	var list []string
	for _, name := range schemas.OutputTypes() {
		list = append(list, c.topicOf(name))
	}
	return list
}
