package bench

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	_ "modernc.org/sqlite" // the naive loop's database

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// BenchmarkOtherProviders: half a million records of which one in a hundred is
// ours, and those the same event over and over.
func BenchmarkOtherProviders(b *testing.B) {
	const records = 500_000
	r := newRig(b, 0)
	r.produce(schemas.TypeProviderSelected, records, func(i int) (id, shop, data string) {
		shop = "shop-" + strconv.Itoa(i)
		if i%100 == 0 {
			return shop, shop, selectedData(shop)
		}
		return shop, shop, `{"shopId":"` + shop + `","provider":"another","email":"owner@shops.example","comment":"` + padding + `"}`
	})
	worker := r.start("--concurrency", "64", "--requests-per-window", "1")
	// Only the reading is measured: a ledger of one permit keeps the calls out.
	var first time.Time
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		n := worker.metric("invoicebox_worker_records_total", "")
		if n > 0 && first.IsZero() {
			first = time.Now().Add(-20 * time.Millisecond)
		}
		if n >= records {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("%v of %d records after two minutes", n, records)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(records/time.Since(first).Seconds(), "records/s")
	b.ReportMetric(float64(r.cpu().Microseconds())/records, "worker-cpu-µs/record")
	b.ReportMetric(r.resident()/(1<<20), "worker-resident-MiB")
	r.end()
}

const padding = "a comment of some length, as such events carry more than anybody needs to know here"

// BenchmarkNaiveLoop makes the same invitations with one record after the other.
func BenchmarkNaiveLoop(b *testing.B) {
	for name, latency := range map[string]time.Duration{"no latency": 0, "50 ms": 50 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			shops := 2000
			if latency > 0 {
				shops = 100
			}
			r := newRig(b, latency)
			r.produce(schemas.TypeProviderSelected, shops, func(i int) (id, shop, data string) {
				shop = "shop-" + strconv.Itoa(i)
				return shop, shop, selectedData(shop)
			})
			took := r.naive(shops)
			b.ReportMetric(float64(shops)/took.Seconds(), "events/s")
		})
	}
}

// naive fetches, calls, writes, publishes and commits, one by one.
func (r *rig) naive(shops int) time.Duration {
	b := r.b
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:"+r.path("naive.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("CREATE TABLE result (shop TEXT PRIMARY KEY, invitation TEXT)"); err != nil {
		b.Fatal(err)
	}
	token := secret.New(sandbox.DefaultToken)
	client, err := invoicebox.New(invoicebox.Options{BaseURL: r.api.url, PartnerID: sandbox.DefaultPartnerID, Token: func() secret.String { return token }})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	reader := kafkago.NewReader(kafkago.ReaderConfig{Brokers: r.cluster.Brokers(), Topic: r.topics[schemas.TypeProviderSelected], GroupID: r.topics[schemas.TypeInvited], MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 100 * time.Millisecond, StartOffset: kafkago.FirstOffset})
	defer func() { _ = reader.Close() }()
	writer := &kafkago.Writer{Addr: kafkago.TCP(r.cluster.Brokers()...), Topic: r.topics[schemas.TypeInvited], Balancer: kafkago.Murmur2Balancer{}, RequiredAcks: kafkago.RequireAll, BatchSize: 1}
	defer func() { _ = writer.Close() }()
	var began time.Time
	for range shops {
		m, err := reader.FetchMessage(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if began.IsZero() {
			began = time.Now()
		}
		x := client.Invite(ctx, invoicebox.CallOptions{}, secret.New("owner-"+string(m.Key)+"@shops.example"))
		invitation, err := invoicebox.ParseInvitation(x)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := db.Exec("INSERT INTO result VALUES (?, ?)", string(m.Key), invitation.ID); err != nil {
			b.Fatal(err)
		}
		if err := writer.WriteMessages(ctx, kafkago.Message{Key: m.Key, Value: []byte(`{"shopId":"` + string(m.Key) + `"}`)}); err != nil {
			b.Fatal(err)
		}
		if err := reader.CommitMessages(ctx, m); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

func selectedData(shop string) string {
	return fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"%s@shops.example"}`, shop, shop)
}
