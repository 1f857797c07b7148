package consumer_test

import (
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// Ready tells soon that an input topic is gone, long before the next look at the
// topics is due, and the others are read meanwhile; when it is back all is well.
func testConsumerReportsMissingTopic(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		gone, stays, j := c.NewTopic(t, "gone", 2), c.NewTopic(t, "stays", 2), newInbox()
		r := start(t, c, group(), stays, j, func(config *consumer.Config) {
			config.Topics, config.WatchInterval = []string{gone, stays}, time.Hour
			types := map[string]string{stays: schemas.TypeProviderSelected, gone: schemas.TypeCodeEntered}
			decoder, err := schemas.NewDecoder(schemas.DecoderOptions{Types: types, Accounts: []string{"default"}})
			if err != nil {
				t.Fatal(err)
			}
			config.Decoder = decoder
		})
		c.Produce(t, stays, many(0, 10))
		eventually(t, "the records", func() bool { return j.taken() == 10 })
		eventually(t, "ready", func() bool { ok, _ := r.Ready(); return ok })

		c.DeleteTopic(t, gone)
		began := time.Now()
		eventually(t, "the word of it", func() bool {
			ok, word := r.Ready()
			return !ok && strings.Contains(word, "gone")
		})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		} else {
			t.Logf("it took %v", took)
		}
		c.Produce(t, stays, many(10, 10))
		eventually(t, "the records of the other topic", func() bool { return j.taken() == 20 })
		if ok, word := r.Ready(); ok {
			t.Errorf("ready again: %s", word)
		}

		if err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: gone, NumPartitions: 2}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "ready again", func() bool { ok, _ := r.Ready(); return ok })
		c.Produce(t, stays, many(20, 10))
		eventually(t, "the last records", func() bool { return j.taken() == 30 })
	})
}
