package consumer_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// A topic that was created again, or a log that lost its end, and was filled beyond
// the journal's position holds other records at the same offsets. None of them is
// skipped: the consumer refuses to go on.
func testConsumerRefusesLogFilledBeyondPosition(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, j, g := c.NewTopic(t, "in", 1), newInbox(), group()
		c.Produce(t, topic, many(0, 10))
		r := start(t, c, g, topic, j)
		eventually(t, "the records", func() bool { return j.taken() == 10 })
		r.stop()
		recreateTopic(t, c, topic)
		c.Produce(t, topic, many(100, 25))
		r = start(t, c, g, topic, j, func(c *consumer.Config) { c.TopicTimeout = time.Second })
		if err := r.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrTopicRecreated) {
			t.Fatalf("Run: %v", err)
		}
		if n := j.taken(); n != 10 {
			t.Errorf("%d records are taken in", n)
		}
		if err := exclusive(t, c, g, topic, j, nil, func(ctx context.Context, a *consumer.ExclusiveSession) error {
			spans, lost, err := a.InputRanges(ctx)
			if err != nil || len(lost) != 0 || len(spans) != 1 || !spans[0].TopicRecreated || spans[0].From != 0 || spans[0].To != 25 {
				t.Errorf("%+v %+v %v", spans, lost, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// The same log is read on, after a restart and under another leader.
func testConsumerContinuesWithSameLog(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithBrokers(2))
	topic, j, g := c.NewTopic(t, "in", 1), newInbox(), group()
	c.Produce(t, topic, many(0, 10))
	r := start(t, c, g, topic, j)
	eventually(t, "the records", func() bool { return j.taken() == 10 })
	for node := range int32(2) {
		if err := c.Fake().MoveTopicPartition(topic, 0, node); err != nil {
			t.Fatal(err)
		}
		c.Produce(t, topic, many(10+int(node)*5, 5))
		eventually(t, "the records of the new leader", func() bool { return j.taken() == 15+int(node)*5 })
	}
	r.stop()
	c.Produce(t, topic, many(20, 5))
	r = start(t, c, g, topic, j)
	eventually(t, "the records after a restart", func() bool { return j.taken() == 25 })
	r.stop()
}

// Records before the position that retention deleted say nothing about the log.
func testConsumerContinuesWithTruncatedLog(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j, g := c.NewTopic(t, "in", 1), newInbox(), group()
	c.Produce(t, topic, many(0, 10))
	r := start(t, c, g, topic, j)
	eventually(t, "the records", func() bool { return j.taken() == 10 })
	r.stop()
	c.Produce(t, topic, many(10, 5))
	if err := c.Fake().DeleteRecords(topic, 0, 10); err != nil {
		t.Fatal(err)
	}
	start(t, c, g, topic, j)
	eventually(t, "the rest", func() bool { return j.taken() == 15 })
}

func recreateTopic(t *testing.T, c *kafkatest.Cluster, topic string) {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(c.Brokers()...), Timeout: 10 * time.Second, Transport: transport}
	answer, err := client.DeleteTopics(t.Context(), &kafkago.DeleteTopicsRequest{Topics: []string{topic}})
	if err == nil {
		err = answer.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic again", func() bool {
		return c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}) == nil
	})
}

// A leader is elected that lacks the end of the log, while the consumer runs, and
// what is written then lies beyond the consumer's position.
func testConsumerUncleanLeaderElection(t *testing.T) {
	t.Parallel() // it waits for brokers of its own
	c := kafkatest.Real(t, kafkatest.WithBrokers(3), kafkatest.WithProperty("broker.session.timeout.ms", "6000"), kafkatest.WithProperty("replica.lag.time.max.ms", "2000"))
	const topic = "unclean"
	err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: topic, NumPartitions: 1, ReplicationFactor: 2, ConfigEntries: []kafkago.ConfigEntry{
		{ConfigName: "unclean.leader.election.enable", ConfigValue: "true"}, {ConfigName: "min.insync.replicas", ConfigValue: "1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.Produce(t, topic, many(0, 5))
	j := newInbox()
	r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.TopicTimeout = 10 * time.Second })
	eventually(t, "the first records", func() bool { return j.taken() == 5 })
	leader, follower := replicas(t, c, topic)
	if err := c.Kill(follower); err != nil {
		t.Fatal(err)
	}
	c.Produce(t, topic, many(5, 5))
	eventually(t, "the records of the lone leader", func() bool { return j.taken() == 10 })
	if err := c.Kill(leader); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(follower); err != nil {
		t.Fatal(err)
	}
	c.Produce(t, topic, many(100, 25))
	if err := r.ends(t, 90*time.Second); !errors.Is(err, consumer.ErrTopicRecreated) || !strings.Contains(err.Error(), "leader epoch") {
		t.Fatalf("Run: %v", err)
	}
	if n := j.taken(); n != 10 {
		t.Errorf("%d records are taken in", n)
	}
}

// replicas finds the brokers of a topic with one partition and two replicas.
func replicas(t *testing.T, c *kafkatest.Cluster, topic string) (leader, follower int) {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(c.Brokers()...), Timeout: 10 * time.Second, Transport: transport}
	answer, err := client.Metadata(t.Context(), &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		t.Fatal(err)
	}
	p := answer.Topics[0].Partitions[0]
	leader, follower = -1, -1
	for _, b := range p.Replicas {
		i := slices.Index(c.Brokers(), net.JoinHostPort(b.Host, strconv.Itoa(b.Port)))
		if b.ID == p.Leader.ID {
			leader = i
		} else {
			follower = i
		}
	}
	if leader < 0 || follower < 0 {
		t.Fatalf("replicas %+v of brokers %v", p, c.Brokers())
	}
	return leader, follower
}

// The comparison of logs asks for little, and for each partition once: a broker
// with a byte quota would else keep every generation from beginning.
func testConsumerComparesLogsCheaply(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j, g := c.NewTopic(t, "in", 2), newInbox(), group()
	for p := range int32(2) {
		c.ProduceBatch(t, topic, p, kafkatest.Batch{Count: 10, Write: kafkatest.Messages(manyFrom(10*int(p), 10)...)})
	}
	r := start(t, c, g, topic, j)
	eventually(t, "the records", func() bool { return j.taken() == 20 })
	r.stop()
	var most, refused, whole atomic.Int64
	c.Fake().ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake().KeepControl()
		asked := map[int32]int32{}
		for _, t := range q.(*kmsg.FetchRequest).Topics {
			for _, p := range t.Partitions {
				if p.FetchOffset < 10 {
					asked[p.Partition] = p.PartitionMaxBytes
					most.Store(max(most.Load(), int64(p.PartitionMaxBytes)))
				}
			}
		}
		_, second := asked[1]
		if second && refused.Add(1) <= 2 { // the first is left to wait
			answer := q.ResponseKind().(*kmsg.FetchResponse)
			rt, rp := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
			rt.Topic, rp.Partition, rp.ErrorCode = topic, 1, kerr.NotLeaderForPartition.Code
			rt.Partitions = append(rt.Partitions, rp)
			answer.Topics, answer.ThrottleMillis = append(answer.Topics, rt), 1
			return answer, nil, true
		}
		if _, first := asked[0]; first {
			whole.Add(1)
		}
		return nil, nil, false
	})
	c.ProduceBatch(t, topic, 0, kafkatest.Batch{Count: 1, Write: kafkatest.Messages(manyFrom(20, 1)...)})
	start(t, c, g, topic, j)
	eventually(t, "the next record", func() bool { return j.taken() == 21 })
	if most.Load() > 16<<10 || whole.Load() != 1 || refused.Load() != 3 {
		t.Errorf("%d bytes were asked for; the first partition was compared %d times, the second %d times", most.Load(), whole.Load(), refused.Load())
	}
}
