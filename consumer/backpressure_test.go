package consumer_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
)

// Without room nothing is fetched: the member stays in its group, the reader is
// not taken for silent, and all goes on by itself when there is room.
func testConsumerPausesWithoutCapacity(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic := c.NewTopic(t, "in", 2)
	j := newInbox()
	var full atomic.Bool
	var asked atomic.Int64
	own := start(t, c, group(), topic, j, func(o *consumer.Config) {
		o.StallTimeout = 400 * time.Millisecond
		o.CanFetch = func() (bool, string) {
			asked.Add(1)
			return !full.Load(), "the disk is full"
		}
	})
	c.Produce(t, topic, many(0, 5))
	eventually(t, "five are taken in", func() bool { return j.taken() == 5 })
	generations := metrictest.Sum(t, own.registry, "invoicebox_worker_consumer_generations_total")

	full.Store(true)
	eventually(t, "it says so", func() bool {
		ok, word := own.Ready()
		return !ok && strings.Contains(word, "the disk is full") && metrictest.Sum(t, own.registry, "invoicebox_worker_consumer_paused") == 1
	})
	// A fetch that was under way may still bring something in.
	before, held := j.taken(), asked.Load()
	eventually(t, "both readers hold", func() bool { return asked.Load() > held+8 })
	c.Produce(t, topic, many(5, 20))
	held = asked.Load()
	eventually(t, "several times StallTimeout goes by", func() bool { return asked.Load() > held+20 })
	if n := j.taken(); n != before {
		t.Errorf("%d events came in without room", n-before)
	}

	full.Store(false)
	eventually(t, "the rest is taken in", func() bool { return j.taken() == 25 })
	eventually(t, "it is ready", func() bool {
		ok, _ := own.Ready()
		return ok && metrictest.Sum(t, own.registry, "invoicebox_worker_consumer_paused") == 0
	})
	if now := metrictest.Sum(t, own.registry, "invoicebox_worker_consumer_generations_total"); now != generations {
		t.Errorf("the group was joined %v times meanwhile", now-generations)
	}
	if n := metrictest.Sum(t, own.registry, "invoicebox_worker_consumer_reconnects_total"); n != 0 {
		t.Errorf("%v connections were replaced", n)
	}
	own.stop()
	select {
	case err := <-own.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Run does not return")
	}
}
