package consumer_test

import (
	"context"
	"testing"
	"time"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// blockingInbox is a journal whose transactions end only when they are given up.
type blockingInbox struct {
	*inbox
	tried, release chan struct{}
}

func (s blockingInbox) Ingest(ctx context.Context, _ journal.Batch) (journal.Ingested, error) {
	select {
	case s.tried <- struct{}{}:
	default:
	}
	select {
	case <-ctx.Done():
		return journal.Ingested{}, ctx.Err()
	case <-s.release:
		return journal.Ingested{}, context.Canceled
	}
}

// All members of a group wait for the slowest: a batch that does not end is given
// up long before the time that it has when the worker stops.
func testConsumerAbandonsSlowBatchInRebalance(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, g, j := c.NewTopic(t, "in", 2), group(), newInbox()
	c.Produce(t, topic, many(0, 20))
	slow := func(c *consumer.Config) { c.ShutdownTimeout, c.SessionTimeout = 25*time.Second, 30*time.Second }
	tried, release := make(chan struct{}, 1), make(chan struct{})
	start(t, c, g, topic, blockingInbox{j, tried, release}, slow)
	<-tried
	began := time.Now()
	defer close(release)
	start(t, c, g, topic, j, slow)
	eventually(t, "the second's share", func() bool { return j.taken() > 0 })
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("joining took %v", took)
	}
}
