package producer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/schemas"
)

// An Outbox is what the relay needs of the journal; see [journal.Journal] for
// what the methods promise.
type Outbox interface {
	OutboxChanged() <-chan struct{}
	Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.Outgoing, error)
	MarkPublished(ctx context.Context, rows []journal.Published) error
	journal.RelayLeases
}

// Config is what a relay needs. Fields without a default are required.
type Config struct {
	Kafka  *kafka.Conn
	Outbox Outbox
	// Authentic tells whether a row is as the journal's workers wrote it: one that is
	// not is not published, and stays in the outbox.
	Authentic func(journal.Outgoing) error
	Logger    *slog.Logger
	Metrics   *Metrics
	// Topics maps the contract's names to topics; a name that is not in it is
	// the topic.
	Topics map[string]string

	// FlushTime bounds how long Run publishes what is left after its context
	// has ended. Default: 5 s.
	FlushTime time.Duration
	// StoppedRetry is how often a topic that a broker definitely refuses is
	// tried again, and rows that are not authentic are looked at again. Default: 15 s.
	StoppedRetry time.Duration
	// TopicWait is how long a missing topic counts as a passing fault. Default: 5 s.
	TopicWait time.Duration
	// BatchRows and BatchBytes bound one request. Defaults: 500, 900 kB: below a
	// broker's usual limit of 1 MB.
	BatchRows, BatchBytes int
}

const (
	leastPause     = 50 * time.Millisecond
	mostPause      = 5 * time.Second
	slowAnswer     = time.Second      // a request that took longer may have been refused for the time that it waited
	requestTimeout = 35 * time.Second // the broker's own is 30 s

	laneRows, laneBytes = 1000, 1 << 20    // held for one partition
	heldRows, heldBytes = 16_000, 32 << 20 // held for all
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
		{"FlushTime", &c.FlushTime, 5 * time.Second}, {"StoppedRetry", &c.StoppedRetry, 15 * time.Second},
		{"TopicWait", &c.TopicWait, 5 * time.Second},
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
		return errors.New("producer: BatchRows and BatchBytes are bounds: not negative")
	}
	return nil
}

// topicOf gives the topic of a contract's name.
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
