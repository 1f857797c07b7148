package kafka_test

import (
	"slices"
	"testing"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestCreateTopics(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		there := c.NewTopic(t, "there", 2)
		fresh := there + "-fresh"
		specs := []kafka.TopicSpec{{Name: there, Partitions: 5}, {Name: fresh, Partitions: 3, Retention: -1}, {Name: "refused", Partitions: 1, Replicas: 9}}
		before, err := kafka.TopicStates(t.Context(), conn, fresh, there)
		if err != nil || !slices.Equal(before, []kafka.TopicState{{Name: fresh}, {Name: there, Partitions: 2, Replicas: 1}}) {
			t.Fatalf("before: %+v, %v", before, err)
		}
		states, err := kafka.CreateTopics(t.Context(), conn, specs)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []kafka.TopicState{{Name: there, Partitions: 2, Replicas: 1}, {Name: fresh, Created: true, Partitions: 3, Replicas: 1}} {
			if states[i] != want {
				t.Errorf("%+v, want %+v", states[i], want)
			}
		}
		if states[2].Err == nil {
			t.Error("nine replicas on one broker")
		}
		again, err := kafka.CreateTopics(t.Context(), conn, specs[:2])
		if err != nil || again[1].Created || again[1].Err != nil {
			t.Errorf("again: %+v, %v", again, err)
		}
	})
}
