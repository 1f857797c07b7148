package kafka_test

import (
	"context"
	"errors"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// How long records stay is read from the topics, the longest of all.
func TestTopicRetention(t *testing.T) {
	topic := func(name string, settings ...string) kafkago.TopicConfig {
		c := kafkago.TopicConfig{Topic: name, NumPartitions: 1, ReplicationFactor: 1}
		for i := 0; i < len(settings); i += 2 {
			c.ConfigEntries = append(c.ConfigEntries, kafkago.ConfigEntry{ConfigName: settings[i], ConfigValue: settings[i+1]})
		}
		return c
	}
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		if err := c.CreateTopics(t.Context(),
			topic("day", "retention.ms", "86400000", "segment.ms", "3600000"),
			topic("week", "retention.ms", "604800000", "segment.ms", "86400000"),
			topic("ever", "retention.ms", "-1"),
			topic("compacted", "cleanup.policy", "compact"),
			topic("plain"),
		); err != nil {
			t.Fatal(err)
		}
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			topics []string
			want   time.Duration
		}{
			{[]string{"day"}, 26 * time.Hour},
			{[]string{"day", "week"}, 8*24*time.Hour + time.Hour},
			{[]string{"day", "ever"}, -1},
			{[]string{"compacted", "day"}, -1},
			{[]string{"plain"}, 14*24*time.Hour + time.Hour}, // the broker's defaults
		} {
			if got, err := kafka.TopicRetention(t.Context(), conn, x.topics...); err != nil || got != x.want {
				t.Errorf("%v: %v, %v, want %v", x.topics, got, err, x.want)
			}
		}
		if got, err := kafka.TopicRetention(t.Context(), conn, "day", "absent"); err == nil {
			t.Errorf("a topic that is not there: %v", got)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if _, err := kafka.TopicRetention(ended, conn, "day"); !errors.Is(err, context.Canceled) {
			t.Errorf("after its end: %v", err)
		}
	})
}
