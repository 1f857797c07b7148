package consumer_test

import (
	"context"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestLibrary(t *testing.T) {
	t.Run("GenerationDelaysRejoin", testLibraryGenerationDelaysRejoin)
}

// What this package relies on in the client library: the group waits with the
// next generation until every function of the last one has returned, a commit
// inside that time counts, and one after it fails.
func testLibraryGenerationDelaysRejoin(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g := c.NewTopic(t, "facts", 2), group()
		c.Produce(t, topic, many(0, 20))
		member := func() *kafkago.ConsumerGroup {
			m, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{ID: g, Brokers: c.Brokers(), Topics: []string{topic}, HeartbeatInterval: 200 * time.Millisecond, JoinGroupBackoff: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		next := func(m *kafkago.ConsumerGroup) *kafkago.Generation {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			for {
				generation, err := m.Next(ctx)
				if err == nil {
					return generation
				}
				if ctx.Err() != nil {
					t.Fatal(err)
				}
			}
		}
		first := member()
		defer func() { _ = first.Close() }()
		old := next(first)
		ended, release := make(chan struct{}), make(chan struct{})
		old.Start(func(life context.Context) {
			<-life.Done()
			close(ended)
			<-release
		})
		second := member()
		defer func() { _ = second.Close() }()
		joined := make(chan *kafkago.Generation, 1)
		go func() { joined <- next(second) }()
		<-ended
		if err := old.CommitOffsets(map[string]map[int]int64{topic: {0: 7, 1: 5}}); err != nil {
			t.Errorf("a commit while the generation is held back: %v", err)
		}
		select {
		case <-joined:
			t.Error("the group went on although a function of the old generation runs")
		case <-time.After(700 * time.Millisecond):
		}
		close(release)
		newer := next(first)
		<-joined
		if err := old.CommitOffsets(map[string]map[int]int64{topic: {0: 1, 1: 1}}); err == nil {
			t.Error("a commit on an ended generation succeeds")
		}
		for _, a := range newer.Assignments[topic] {
			if want := []int64{7, 5}[a.ID]; a.Offset != want {
				t.Errorf("partition %d begins at %d, want %d", a.ID, a.Offset, want)
			}
		}
	})
}
