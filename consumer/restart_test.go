package consumer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// A real broker is killed and comes back: every record is taken in, once.
func testConsumerSurvivesBrokerRestart(t *testing.T) {
	t.Parallel() // it waits for brokers of its own
	c := kafkatest.Real(t, kafkatest.WithTopic("in", 2))
	j := newInbox()
	start(t, c, group(), "in", j)
	c.Produce(t, "in", many(0, 100))
	eventually(t, "the records", func() bool { return j.taken() == 100 })
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(0); err != nil {
		t.Fatal(err)
	}
	c.Produce(t, "in", many(100, 100))
	eventually(t, "the later records", func() bool { return j.taken() == 200 })
}

// A runMember that waits for others to join can still stop at once.
func testConsumerStopsDuringLongJoin(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g, j := c.NewTopic(t, "in", 1), group(), newInbox()
		// One that speaks our protocol and never gives its partitions back.
		holder, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{ID: g, Brokers: c.Brokers(), Topics: []string{topic}, GroupBalancers: []kafkago.GroupBalancer{named{consumer.ProtocolName(j)}}})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		defer func() { close(release); _ = holder.Close() }()
		eventually(t, "the holder", func() bool {
			generation, err := holder.Next(t.Context())
			if err != nil {
				return false
			}
			generation.Start(func(context.Context) { <-release })
			return true
		})
		r := start(t, c, g, topic, j, func(c *consumer.Config) { c.ShutdownTimeout = 200 * time.Millisecond })
		eventually(t, "the join", func() bool { _, word := r.Ready(); return word == "joining the consumer group" })
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

type named struct{ name string }

func (n named) ProtocolName() string      { return n.name }
func (n named) UserData() ([]byte, error) { return nil, nil }
func (n named) AssignGroups(members []kafkago.GroupMember, partitions []kafkago.Partition) kafkago.GroupMemberAssignments {
	return kafkago.RangeGroupBalancer{}.AssignGroups(members, partitions)
}

// A journal that goes back while it is read, as a late standby does, is not read
// into: what it lacks is for a recovery.
func testConsumerRefusesJournalThatGoesBack(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	c.Produce(t, topic, many(0, 10))
	r := start(t, c, group(), topic, j)
	eventually(t, "the records", func() bool { return j.taken() == 10 })
	j.set(topic, 0, 4)
	c.Produce(t, topic, many(10, 1))
	if err := r.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrOffsetsAhead) {
		t.Fatalf("Run: %v", err)
	}
	if j.taken() != 10 {
		t.Error("something was taken in")
	}
}
