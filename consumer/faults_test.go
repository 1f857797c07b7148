package consumer_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
)

// stall makes fetches of a topic answer with nothing, though there is
// something, while on tells so.
func swallowFetches(c *kafkatest.Cluster, topic string, on func(n int64) bool) *atomic.Int64 {
	var hits atomic.Int64
	c.Fake().ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake().KeepControl()
		request := q.(*kmsg.FetchRequest)
		if len(request.Topics) != 1 || request.Topics[0].Topic != topic || !on(hits.Add(1)) {
			return nil, nil, false
		}
		answer := request.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = topic
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.Partition = request.Topics[0].Partitions[0].Partition
		rp.HighWatermark, rp.LastStableOffset = 1000, 1000
		rt.Partitions = append(rt.Partitions, rp)
		answer.Topics = append(answer.Topics, rt)
		return answer, nil, true
	})
	return &hits
}

func TestWatchdog(t *testing.T) {
	t.Run("EndsRunForStalledPartition", testWatchdogEndsRunForStalledPartition)
	t.Run("RecoversByReconnecting", testWatchdogRecoversByReconnecting)
}

// A stalled partition is found: its connection is replaced, then the
// generation ends, then Run.
func testWatchdogEndsRunForStalledPartition(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic := c.NewTopic(t, "in", 1)
	c.Produce(t, topic, many(0, 10))
	swallowFetches(c, topic, func(n int64) bool { <-time.After(time.Millisecond); return true })
	r := start(t, c, group(), topic, newInbox(), func(c *consumer.Config) { c.StallTimeout = 400 * time.Millisecond })
	if err := r.ends(t, 30*time.Second); !errors.Is(err, consumer.ErrPartitionStalled) {
		t.Fatalf("Run: %v", err)
	}
	if n := metrictest.Sum(t, r.registry, "invoicebox_worker_consumer_reconnects_total"); n < 2 {
		t.Errorf("%v rebuilds", n)
	}
	if n := metrictest.Sum(t, r.registry, "invoicebox_worker_consumer_generations_total"); n < 2 {
		t.Errorf("%v generations", n)
	}
}

func testWatchdogRecoversByReconnecting(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	c.Produce(t, topic, many(0, 10))
	var speaks atomic.Bool
	swallowFetches(c, topic, func(int64) bool { <-time.After(time.Millisecond); return !speaks.Load() })
	r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.StallTimeout = 400 * time.Millisecond })
	eventually(t, "a rebuild", func() bool { return metrictest.Sum(t, r.registry, "invoicebox_worker_consumer_reconnects_total") > 0 })
	speaks.Store(true)
	eventually(t, "the records", func() bool { return j.taken() == 10 })
}

func testConsumerFollowsMovedLeader(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithBrokers(3))
	topic, j := c.NewTopic(t, "in", 2), newInbox()
	start(t, c, group(), topic, j)
	for round := range 3 {
		c.Produce(t, topic, many(round*20, 20))
		eventually(t, "the records", func() bool { return j.taken() == (round+1)*20 })
		for p := range int32(2) {
			if err := c.Fake().MoveTopicPartition(topic, p, (c.Fake().LeaderFor(topic, p)+1)%3); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Produce(t, topic, many(60, 20))
	eventually(t, "the last records", func() bool { return j.taken() == 80 })
}

// Passing faults of every request that the consumer makes are waited out.
func testConsumerRetriesTemporaryFaults(t *testing.T) {
	for _, f := range []struct {
		key kmsg.Key
		err *kerr.Error
	}{
		{kmsg.Fetch, kerr.NotLeaderForPartition}, {kmsg.Fetch, kerr.KafkaStorageError}, {kmsg.ListOffsets, kerr.LeaderNotAvailable},
		{kmsg.JoinGroup, kerr.CoordinatorLoadInProgress}, {kmsg.JoinGroup, kerr.NotCoordinator}, {kmsg.SyncGroup, kerr.RebalanceInProgress},
		{kmsg.FindCoordinator, kerr.CoordinatorNotAvailable}, {kmsg.OffsetFetch, kerr.CoordinatorLoadInProgress},
		{kmsg.OffsetCommit, kerr.NotCoordinator}, {kmsg.OffsetCommit, kerr.CoordinatorNotAvailable}, {kmsg.Heartbeat, kerr.UnknownMemberID},
	} {
		t.Run(fmt.Sprint(f.key.Name(), " ", f.err.Message), func(t *testing.T) {
			t.Parallel()
			c := kafkatest.Embedded(t)
			topic, g, j := c.NewTopic(t, "in", 1), group(), newInbox()
			c.Produce(t, topic, many(0, 10))
			fault := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{f.key}, Err: f.err, Count: 3})
			start(t, c, g, topic, j)
			eventually(t, "the records", func() bool { return j.taken() == 10 })
			c.Produce(t, topic, many(10, 10))
			eventually(t, "the later records", func() bool { return j.taken() == 20 })
			eventually(t, "the commit", func() bool { return c.Committed(t, g, topic)[0] == 20 })
			if fault.Hits() == 0 && f.key != kmsg.Heartbeat {
				t.Error("the fault was never hit")
			}
		})
	}
}

// What a person has to remove ends Run at its start, in clear words.
func testConsumerEndsWithoutRights(t *testing.T) {
	for _, f := range []struct {
		name string
		key  kmsg.Key
		err  *kerr.Error
	}{
		{"describe topic", kmsg.Metadata, kerr.TopicAuthorizationFailed}, {"read topic", kmsg.Fetch, kerr.TopicAuthorizationFailed},
		{"group offsets", kmsg.OffsetFetch, kerr.GroupAuthorizationFailed}, {"join group", kmsg.JoinGroup, kerr.GroupAuthorizationFailed},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := kafkatest.Embedded(t)
			topic := c.NewTopic(t, "in", 1)
			c.Produce(t, topic, many(0, 1))
			c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{f.key}, Err: f.err, Count: -1})
			r := start(t, c, group(), topic, newInbox(), func(c *consumer.Config) { c.TopicTimeout = 700 * time.Millisecond })
			if err := r.ends(t, 15*time.Second); !errors.Is(err, consumer.ErrDenied) {
				t.Fatalf("Run: %v", err)
			}
		})
	}
}

// A record of another size than most, in the middle of many.
func testConsumerIngestsLargeRecords(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, j := c.NewTopic(t, "in", 1), newInbox()
		for i := range 3 {
			c.Produce(t, topic, many(i*10, 10))
			c.Produce(t, topic, []kafkago.Message{{Value: make([]byte, 8<<20)}})
		}
		r := start(t, c, group(), topic, j)
		eventually(t, "all records", func() bool { return j.position(topic, 0) == 33 })
		if j.taken() != 30 {
			t.Errorf("%d events", j.taken())
		}
		// Counted behind the transaction that moves the position.
		eventually(t, "three dead letters", func() bool {
			return metrictest.Sum(t, r.registry, "invoicebox_worker_dead_letters_total", "reason", "too_large") == 3
		})
	})
}

// An event that comes after its shop turned to another provider, and one that
// comes before, end in batches that keep that order.
func testConsumerKeepsOrderOfDeselection(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	away := kafkago.Message{Key: []byte("shop"), Value: []byte(`{"shopId":"shop","provider":"other"}`)}
	c.Produce(t, topic, []kafkago.Message{selected("1", "shop"), away, away, selected("2", "shop"), away})
	start(t, c, group(), topic, j)
	eventually(t, "all records", func() bool { return j.position(topic, 0) == 5 })
	if len(j.batches) != 2 {
		t.Fatalf("%d batches", len(j.batches))
	}
	for i, b := range j.batches {
		if len(b.Events) != 1 || len(b.Deselected) != 1 || b.Events[0].ID != fmt.Sprint(i+1) {
			t.Errorf("batch %d: %d events, %d turned away", i, len(b.Events), len(b.Deselected))
		}
	}
}

// A stop in the middle of a large fetch leaves the journal at a batch's end,
// and the next run goes on from there.
func testConsumerStopsInTheMiddle(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, g, j := c.NewTopic(t, "in", 1), group(), newInbox()
	c.Produce(t, topic, many(0, 3000))
	slow := make(chan struct{}, 1)
	j.setFail(func(journal.Batch) error {
		select {
		case slow <- struct{}{}:
		default:
		}
		<-time.After(2 * time.Millisecond)
		return nil
	})
	r := start(t, c, g, topic, j, func(c *consumer.Config) { c.BatchEvents = 10 })
	<-slow
	r.stop()
	at := j.position(topic, 0)
	if at == 3000 || int(at) != j.taken() {
		t.Fatalf("position %d, %d events", at, j.taken())
	}
	if n := c.Committed(t, g, topic)[0]; n != at {
		t.Errorf("committed %d, position %d", n, at)
	}
	j.setFail(nil)
	start(t, c, g, topic, j)
	eventually(t, "the rest", func() bool { return j.taken() == 3000 })
}
