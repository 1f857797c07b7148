package kafka_test

import (
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestInspectTopics(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		base := c.NewTopic(t, "inspected", 2)
		if err := c.CreateTopics(t.Context(),
			kafkago.TopicConfig{Topic: base + "-short", NumPartitions: 1, ConfigEntries: []kafkago.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "3600000"}, {ConfigName: "min.insync.replicas", ConfigValue: "2"}}},
			kafkago.TopicConfig{Topic: base + "-long", NumPartitions: 1, ConfigEntries: []kafkago.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "-1"}}},
			kafkago.TopicConfig{Topic: base + "-compact", NumPartitions: 1, ConfigEntries: []kafkago.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "compact"}}},
		); err != nil {
			t.Fatal(err)
		}
		got, err := kafka.InspectTopics(t.Context(), conn, base, base+"-short", base+"-long", base+"-compact", base+"-none")
		if err == nil {
			t.Errorf("a topic that does not exist: %+v", got)
		}
		got, err = kafka.InspectTopics(t.Context(), conn, base, base+"-short", base+"-long", base+"-compact")
		if err != nil {
			t.Fatal(err)
		}
		want := []kafka.TopicSafety{
			{Name: base, Partitions: 2, Replicas: 1, Brokers: 1, MinInsyncReplicas: 1, Retention: 168 * time.Hour},
			{Name: base + "-short", Partitions: 1, Replicas: 1, Brokers: 1, MinInsyncReplicas: 2, Retention: time.Hour},
			{Name: base + "-long", Partitions: 1, Replicas: 1, Brokers: 1, MinInsyncReplicas: 1, Retention: -1},
			{Name: base + "-compact", Partitions: 1, Replicas: 1, Brokers: 1, MinInsyncReplicas: 1, Retention: -1},
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestHasRecordsSince(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		past, future, empty := c.NewTopic(t, "past", 2), c.NewTopic(t, "future", 2), c.NewTopic(t, "empty", 1)
		now := time.Now()
		c.Produce(t, past, []kafkago.Message{{Value: []byte("x"), Time: now}})
		c.Produce(t, future, []kafkago.Message{{Value: []byte("x"), Time: now}, {Value: []byte("y"), Time: now.Add(30 * time.Minute)}})
		got, err := kafka.HasRecordsSince(t.Context(), conn, now.Add(time.Minute), past, future, empty)
		if err != nil || !slices.Equal(got, []string{future}) {
			t.Errorf("%q, %v", got, err)
		}
	})
}
