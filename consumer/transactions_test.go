package consumer_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"invoicebox-worker/internal/testutil/kafkatest"
)

// Records of transactions count when they are committed: the library's own
// reader would also give those of aborted ones. The markers that transactions
// leave in the log hold nothing up, the last of all included.
func testConsumerSkipsAbortedTransactions(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g, j := c.NewTopic(t, "in", 1), group(), newInbox()
		producer, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.TransactionalID("platform-"+g), kgo.DefaultProduceTopic(topic))
		if err != nil {
			t.Fatal(err)
		}
		defer producer.Close()
		write := func(shops []string, end kgo.TransactionEndTry) {
			t.Helper()
			if err := producer.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for _, shop := range shops {
				m := selected("event-"+shop, shop)
				r := &kgo.Record{Key: m.Key, Value: m.Value}
				for _, h := range m.Headers {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
				}
				if err := producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if err := producer.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
		}
		write([]string{"a", "b"}, kgo.TryCommit)
		write([]string{"lost-1", "lost-2"}, kgo.TryAbort)
		start(t, c, g, topic, j)
		eventually(t, "the first transaction", func() bool { return j.taken() == 2 })
		write([]string{"c"}, kgo.TryCommit)
		write([]string{"lost-3"}, kgo.TryAbort)
		write([]string{"d"}, kgo.TryCommit)
		// A broker acknowledges the end of a transaction before its marker is in the log.
		const end = 12 // seven records and five markers
		eventually(t, fmt.Sprint("the end of the log at ", end), func() bool { return j.position(topic, 0) == end })
		if got := j.shops(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			t.Errorf("shops %v", got)
		}
		eventually(t, "the commit", func() bool { return c.Committed(t, g, topic)[0] == end })
	})
}
