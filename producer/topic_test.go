package producer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// A result topic that was deleted while the relay runs, and created again some time
// later, perhaps with fewer partitions: nothing is dropped or taken for
// published meanwhile, the relay says what it waits for, other topics go on, and
// afterwards every row is there once and in order.
func testRelayReassignsRowsOfRecreatedTopic(t *testing.T) {
	for _, again := range []int{3, 1, 7} {
		t.Run(fmt.Sprint(again, " partitions"), func(t *testing.T) {
			t.Parallel()
			kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
				t.Parallel()
				deletedAndRecreated(t, c, again)
			})
		})
	}
}

func deletedAndRecreated(t *testing.T, c *kafkatest.Cluster, again int) {
	topic, other := c.NewTopic(t, "deleted", 3), c.NewTopic(t, "other", 3)
	o := newOutbox()
	r := start(t, c, o, func(p *producer.Config) {
		p.TopicTimeout, p.BlockedRetry = time.Second, 300*time.Millisecond
		p.Topics = map[string]string{schemas.TypeInvited: topic, schemas.TypeActivated: other}
	})
	const shops = 20
	add := func(value string) {
		for i := range shops {
			o.add(schemas.TypeInvited, fmt.Sprint("shop-", i), value)
		}
	}
	add("before")
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	c.DeleteTopic(t, topic)

	// A broker still takes what comes while it deletes.
	eventually(t, "the word of it", func() bool {
		o.add(schemas.TypeInvited, "into the hole", "0")
		<-time.After(50 * time.Millisecond)
		ok, _ := r.Ready()
		return !ok
	})
	hole := o.left()
	add("1")
	add("2")
	row := o.add(schemas.TypeActivated, "shop", "beside")
	eventually(t, "another topic", func() bool { _, ok := o.published(row); return ok })
	if left := o.left(); left != hole+2*shops {
		t.Fatalf("%d rows are left while there is no topic, want %d", left, hole+2*shops)
	}

	if err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: topic, NumPartitions: again}); err != nil {
		t.Fatal(err)
	}
	add("3")
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	got := values(c.ReadAll(t, topic))
	for i := range shops {
		if shop := fmt.Sprint("shop-", i); !slices.Equal(got[shop], []string{"1", "2", "3"}) {
			t.Errorf("%s: %v", shop, got[shop])
		}
	}
	eventually(t, "the word that all is well", func() bool { ok, _ := r.Ready(); return ok })
}
