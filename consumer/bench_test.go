package consumer_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
	"invoicebox-worker/schemas"
)

// BenchmarkOtherProviders reads topics of which 99 % are another provider's
// business, through decoder and SQLite journal.
func BenchmarkOtherProviders(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *kafkatest.Cluster{
		"embedded":     func(tb testing.TB) *kafkatest.Cluster { return kafkatest.Embedded(tb) },
		"apache-kafka": kafkatest.Shared,
	} {
		b.Run(name, func(b *testing.B) {
			c := open(b)
			const n = 200_000
			topic := c.NewTopic(b, "in", 4)
			messages := make([]kafkago.Message, n)
			for i := range messages {
				shop := fmt.Sprint("shop-", i)
				if i%100 == 0 {
					messages[i] = selected(fmt.Sprint("event-", i), shop)
					continue
				}
				messages[i] = event(schemas.TypeProviderSelected, fmt.Sprint("event-", i), shop, fmt.Sprintf(`{"shopId":%q,"provider":"other","email":"somebody-%d@shop.example"}`, shop, i))
			}
			c.Produce(b, topic, messages)
			for b.Loop() {
				readAll(b, c, topic, n)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func readAll(b *testing.B, c *kafkatest.Cluster, topic string, n int64) {
	j, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "journal.db"), Planner: func(journal.Event, journal.ShopView) journal.Plan { return journal.Plan{} }})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	if err := j.EnsureAccount(b.Context(), "default", uuid.NewString()); err != nil {
		b.Fatal(err)
	}
	r := start(b, c, group(), topic, j, func(c *consumer.Config) { c.Logger = slog.New(slog.DiscardHandler) })
	deadline := time.Now().Add(time.Minute)
	for metrictest.Sum(b, r.registry, "invoicebox_worker_records_total") < float64(n) {
		if time.Now().After(deadline) {
			b.Fatal("not in time")
		}
		<-time.After(5 * time.Millisecond)
	}
	r.stop()
	if got := metrictest.Sum(b, r.registry, "invoicebox_worker_records_total", "outcome", consumer.Accepted); got != float64(n/100) {
		b.Fatalf("%v accepted", got)
	}
}
