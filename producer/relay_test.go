package producer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

func TestRelay(t *testing.T) {
	t.Run("WithoutProducerID", testRelayWithoutProducerID)
	t.Run("TimeOfBatchThatWaited", testRelayTimeOfBatchThatWaited)
	t.Run("BlocksTopicThatRefusesTime", testRelayBlocksTopicThatRefusesTime)
	t.Run("TimeRefusedAfterAppend", testRelayTimeRefusedAfterAppend)
	t.Run("ReportsWaitingPartitions", testRelayReportsWaitingPartitions)
	t.Run("ReassignsRowsOfRecreatedTopic", testRelayReassignsRowsOfRecreatedTopic)
	t.Run("HoldsBackUnauthenticRows", testRelayHoldsBackUnauthenticRows)
	t.Run("StandsByWithoutLease", testRelayStandsByWithoutLease)
	t.Run("WritesNothingAfterLeaseExpires", testRelayWritesNothingAfterLeaseExpires)
	t.Run("ResumesWithRenewedLease", testRelayResumesWithRenewedLease)
	t.Run("StepsDownWhenTermIsRefused", testRelayStepsDownWhenTermIsRefused)
	t.Run("PublishesInOrderAndMarks", testRelayPublishesInOrderAndMarks)
	t.Run("PublishesQuicklyWhenIdle", testRelayPublishesQuicklyWhenIdle)
	t.Run("TimeoutAfterAppendLeavesOneRecord", testRelayTimeoutAfterAppendLeavesOneRecord)
	t.Run("FailingPartitionDelaysOnlyItsRows", testRelayFailingPartitionDelaysOnlyItsRows)
	t.Run("BlocksOnlyTheRejectedTopic", testRelayBlocksOnlyTheRejectedTopic)
	t.Run("SplitsLargeBatch", testRelaySplitsLargeBatch)
	t.Run("WaitsForMissingTopic", testRelayWaitsForMissingTopic)
	t.Run("RepeatsFailedMarking", testRelayRepeatsFailedMarking)
	t.Run("FlushesWhenStopped", testRelayFlushesWhenStopped)
	t.Run("StopsInTimeWithoutKafka", testRelayStopsInTimeWithoutKafka)
	t.Run("ReplicasTakeOver", testRelayReplicasTakeOver)
	t.Run("SurvivesBrokerRestart", testRelaySurvivesBrokerRestart)
}

func testRelayPublishesInOrderAndMarks(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "activated", 4)
		o := newOutbox()
		const shops, each = 20, 40
		want := map[string][]string{}
		for i := range each {
			for s := range shops {
				shop, value := fmt.Sprintf("shop-%d", s), fmt.Sprintf("%d", i)
				o.add(schemas.TypeActivated, shop, value)
				want[shop] = append(want[shop], value)
			}
		}
		r := start(t, c, o, func(p *producer.Config) {
			p.Topics = map[string]string{schemas.TypeActivated: topic}
			p.BatchRows = 37
		})
		eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
		records := c.ReadAll(t, topic)
		if got := values(records); len(records) != shops*each || !equal(got, want) {
			t.Fatalf("%d records, or not in order: %v", len(records), got)
		}
		for _, m := range records {
			if p := (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: m.Key}, 0, 1, 2, 3); p != m.Partition {
				t.Fatalf("key %s lies in partition %d, a Java client would take %d", m.Key, m.Partition, p)
			}
			if len(m.Headers) != 1 || m.Headers[0].Key != "ce_id" || string(m.Headers[0].Value) != string(m.Value) {
				t.Fatalf("headers: %v", m.Headers)
			}
			found := false
			for row := range o.last {
				p, _ := o.published(row + 1)
				found = found || p.Partition == m.Partition && p.Offset == m.Offset
			}
			if !found {
				t.Fatalf("no row is marked at %d/%d", m.Partition, m.Offset)
			}
		}
		if n := metrictest.Sum(t, r.registry, "invoicebox_worker_published_total", "type", schemas.TypeActivated); n != shops*each {
			t.Errorf("published_total is %v", n)
		}
	})
}

func testRelayPublishesQuicklyWhenIdle(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	o := newOutbox()
	start(t, c, o)
	o.add(schemas.TypeInvited, "warm", "up")
	eventually(t, "the first", func() bool { return o.left() == 0 })
	var took []time.Duration
	for i := range 30 {
		began := time.Now()
		o.add(schemas.TypeInvited, "warm", fmt.Sprint(i))
		eventually(t, "the next", func() bool { return o.left() == 0 })
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("median %v", took[15])
	if took[15] > 100*time.Millisecond {
		t.Errorf("the median of idle publishing is %v", took[15])
	}
}

// A broker that writes a batch and then says that it did not gets the same
// batch again, under the same sequence: one record, not two.
func testRelayTimeoutAfterAppendLeavesOneRecord(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		t.Run(err.Message, func(t *testing.T) {
			c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
			fault := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.TypeInvited, Err: err, Count: 2})
			o := newOutbox()
			r := start(t, c, o)
			for i := range 5 {
				o.add(schemas.TypeInvited, "shop", fmt.Sprint(i))
			}
			eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
			if fault.Hits() < 2 {
				t.Fatalf("the fault was hit %d times", fault.Hits())
			}
			got := values(c.ReadAll(t, schemas.TypeInvited))["shop"]
			if !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
				t.Fatalf("the topic holds %v", got)
			}
			if n := metrictest.Sum(t, r.registry, "invoicebox_worker_publish_errors_total"); n < 2 {
				t.Errorf("%v errors are counted", n)
			}
		})
	}
}

// A partition in trouble holds back its own rows only, and loses no order.
func testRelayFailingPartitionDelaysOnlyItsRows(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	bad := (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: []byte("bad")}, 0, 1, 2)
	good := ""
	for i := 0; good == ""; i++ {
		if key := fmt.Sprint("good-", i); (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: []byte(key)}, 0, 1, 2) != bad {
			good = key
		}
	}
	fault := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.TypeInvited, Partitions: []int32{int32(bad)}, Err: kerr.NotLeaderForPartition, Count: -1})
	o := newOutbox()
	start(t, c, o)
	// More than a lane holds, so that reading has to go past them.
	const n = 2600
	var want []string
	for i := range n {
		o.add(schemas.TypeInvited, "bad", fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	row := o.add(schemas.TypeInvited, good, "v")
	other := o.add(schemas.TypeActivated, "bad", "v")
	eventually(t, "the other partition and the other topic", func() bool {
		_, a := o.published(row)
		_, b := o.published(other)
		return a && b
	})
	if left := o.left(); left != n {
		t.Fatalf("%d rows are left of %d", left, n)
	}
	fault.Remove()
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	if got := values(c.ReadAll(t, schemas.TypeInvited))["bad"]; !slices.Equal(got, want) {
		t.Fatalf("%d records, or not in order", len(got))
	}
}

// A definite refusal stops one topic, says so, drops nothing and is tried again.
func testRelayBlocksOnlyTheRejectedTopic(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.MessageTooLarge, kerr.InvalidRecord, kerr.PolicyViolation} {
		t.Run(err.Message, func(t *testing.T) {
			c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
			fault := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.TypeInvited, Err: err, Count: -1})
			o := newOutbox()
			r := start(t, c, o, func(p *producer.Config) { p.BlockedRetry = 300 * time.Millisecond })
			first := o.add(schemas.TypeInvited, "shop", "1")
			o.add(schemas.TypeInvited, "shop", "2")
			eventually(t, "the word of it", func() bool { ok, word := r.Ready(); return !ok && strings.Contains(word, schemas.TypeInvited) })
			other := o.add(schemas.TypeActivated, "shop", "3")
			eventually(t, "another topic", func() bool { _, ok := o.published(other); return ok })
			if _, ok := o.published(first); ok {
				t.Fatal("a refused row is marked")
			}
			if n := metrictest.Sum(t, r.registry, "invoicebox_worker_relay_topic_blocked", "topic", schemas.TypeInvited); n != 1 {
				t.Errorf("publish_stopped is %v", n)
			}
			fault.Remove()
			eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
			eventually(t, "a good word", func() bool { ok, _ := r.Ready(); return ok })
			if got := values(c.ReadAll(t, schemas.TypeInvited))["shop"]; !slices.Equal(got, []string{"1", "2"}) {
				t.Fatalf("the topic holds %v", got)
			}
		})
	}
}

// A batch over the broker's limit is sent in parts; only a row over it stops.
func testRelaySplitsLargeBatch(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := "small-" + fmt.Sprint(time.Now().UnixNano())
		if err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: topic, NumPartitions: 1, ConfigEntries: []kafkago.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "20000"}}}); err != nil {
			t.Fatal(err)
		}
		o := newOutbox()
		for i := range 100 {
			o.add(schemas.TypeInvited, "shop", fmt.Sprintf("%02d%01000d", i, 0))
		}
		start(t, c, o, func(p *producer.Config) { p.Topics = map[string]string{schemas.TypeInvited: topic} })
		eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
		for i, v := range values(c.ReadAll(t, topic))["shop"] {
			if v[:2] != fmt.Sprintf("%02d", i) {
				t.Fatalf("record %d begins with %s", i, v[:2])
			}
		}
	})
}

// A topic that is made late gets what waited for it.
func testRelayWaitsForMissingTopic(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopic(schemas.TypeActivated, 2))
	o := newOutbox()
	r := start(t, c, o, func(p *producer.Config) { p.TopicTimeout, p.BlockedRetry = time.Second, 200*time.Millisecond })
	o.add(schemas.TypeInvited, "shop", "1")
	o.add(schemas.TypeInvited, "shop", "2")
	other := o.add(schemas.TypeActivated, "shop", "3")
	eventually(t, "another topic", func() bool { _, ok := o.published(other); return ok })
	eventually(t, "the word of it", func() bool { ok, _ := r.Ready(); return !ok })
	if err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: schemas.TypeInvited, NumPartitions: 3}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	if got := values(c.ReadAll(t, schemas.TypeInvited))["shop"]; !slices.Equal(got, []string{"1", "2"}) {
		t.Fatalf("the topic holds %v", got)
	}
	if ok, word := r.Ready(); !ok {
		t.Errorf("not ready: %s", word)
	}
}

func testRelayRepeatsFailedMarking(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	o := newOutbox()
	o.failMark = 2
	start(t, c, o)
	o.add(schemas.TypeInvited, "shop", "1")
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	if got := values(c.ReadAll(t, schemas.TypeInvited))["shop"]; !slices.Equal(got, []string{"1"}) {
		t.Fatalf("the topic holds %v", got)
	}
}

// Run publishes what is in the outbox when its context ends, in a bounded time.
func testRelayFlushesWhenStopped(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	o := newOutbox()
	r := start(t, c, o)
	for i := range 2000 {
		o.add(schemas.TypeInvited, fmt.Sprint("shop-", i%50), fmt.Sprint(i))
	}
	r.stop()
	if left := o.left(); left != 0 {
		t.Errorf("%d rows are left", left)
	}
	if n := len(c.ReadAll(t, schemas.TypeInvited)); n != 2000 {
		t.Errorf("%d records", n)
	}
}

func testRelayStopsInTimeWithoutKafka(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	o := newOutbox()
	r := start(t, c, o, func(p *producer.Config) { p.FlushTimeout = 500 * time.Millisecond })
	o.add(schemas.TypeInvited, "shop", "1")
	eventually(t, "a failure", func() bool {
		return metrictest.Sum(t, r.registry, "invoicebox_worker_publish_errors_total", "class", "leader") > 0
	})
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if o.left() != 1 {
		t.Error("the row is gone")
	}
}

func equal(a, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if !slices.Equal(v, b[k]) {
			return false
		}
	}
	return true
}
