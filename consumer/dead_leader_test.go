package consumer_test

import (
	"testing"
	"time"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// A worker that is started while a leader is dead waits until another one is
// chosen, however long that takes, and says nothing of a refusal.
func testConsumerStartsWhileLeaderIsDead(t *testing.T) {
	t.Parallel() // it waits for brokers of its own
	c := kafkatest.Real(t, kafkatest.WithBrokers(3), kafkatest.WithTopic("in", 6), kafkatest.WithProperty("broker.session.timeout.ms", "6000"))
	c.Produce(t, "in", many(0, 60))
	if err := c.Kill(1); err != nil {
		t.Fatal(err)
	}
	j := newInbox()
	// Shorter than the others take to miss the dead one; it may be the group's
	// coordinator, too, for which three times that is enough.
	start(t, c, group(), "in", j, func(c *consumer.Config) { c.ConnectTimeout = 4 * time.Second })
	eventually(t, "the records", func() bool { return j.taken() == 60 })
}
