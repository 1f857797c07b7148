package producer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

func TestMain(m *testing.M) {
	if os.Getenv(urlVariable) != "" {
		if err := relayProcess(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	cleanenv.Use()
	// The shared broker runs on until the process ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("invoicebox-worker/internal/testutil/kafkatest.(*node).own"))
}

// What Ready says without a lease.
const (
	wordStandby = "another replica publishes"
	wordUnknown = "whether this replica publishes is not known: the journal does not answer"
)

// outbox is a journal's outbox in memory.
type outbox struct {
	mu       sync.Mutex
	rows     []journal.OutboxRow
	last     int64
	marked   map[int64]journal.Published
	signal   chan struct{}
	failMark int // so many markings fail
	reads    int
}

func newOutbox() *outbox {
	return &outbox{marked: map[int64]journal.Published{}, signal: make(chan struct{}, 1)}
}

func (o *outbox) OutboxChanged() <-chan struct{} { return o.signal }

func (o *outbox) Pending(_ context.Context, after int64, limit, maxBytes int) ([]journal.OutboxRow, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reads++
	var page []journal.OutboxRow
	size := 0
	for _, row := range o.rows {
		if row.Row <= after {
			continue
		}
		size += len(row.Message.Value)
		if len(page) == limit || len(page) > 0 && size > maxBytes {
			break
		}
		page = append(page, row)
	}
	return page, nil
}

func (o *outbox) MarkPublished(_ context.Context, rows []journal.Published) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failMark > 0 {
		o.failMark--
		return errors.New("disk full")
	}
	for _, row := range rows {
		if _, twice := o.marked[row.Row]; twice {
			return fmt.Errorf("row %d is marked twice", row.Row)
		}
		o.marked[row.Row] = row
	}
	o.rows = slices.DeleteFunc(o.rows, func(r journal.OutboxRow) bool { _, done := o.marked[r.Row]; return done })
	return nil
}

// A lone outbox gives the lease to everybody.
func (o *outbox) AcquireLease(context.Context) (journal.RelayLease, error) {
	return journal.RelayLease{Term: 1, ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (o *outbox) ReleaseLease(context.Context) error { return nil }

func (o *outbox) LeaseReleased() <-chan struct{} { return nil }

// add puts an event of a shop into the outbox.
func (o *outbox) add(typ, shop, value string) int64 {
	o.mu.Lock()
	o.last++
	row := o.last
	o.rows = append(o.rows, journal.OutboxRow{
		Row: row, Event: uuid.New(), Type: typ, Since: time.Now(),
		Message: schemas.Message{Key: []byte(shop), Value: []byte(value), Headers: []schemas.Header{{Key: "ce_id", Value: []byte(value)}}},
	})
	o.mu.Unlock()
	select {
	case o.signal <- struct{}{}:
	default:
	}
	return row
}

func (o *outbox) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.rows)
}

func (o *outbox) published(row int64) (journal.Published, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.marked[row]
	return p, ok
}

// running is a relay under test.
type running struct {
	*producer.Relay
	registry *prometheus.Registry
	stop     func()
}

// anyRow takes every row for authentic.
func anyRow(journal.OutboxRow) error { return nil }

type option func(*producer.Config)

// start runs a relay until the test ends.
func start(tb testing.TB, c *kafkatest.Cluster, o producer.Outbox, options ...option) *running {
	tb.Helper()
	conn, err := kafka.New(kafka.Config{Brokers: c.Brokers(), ClientID: "relay"})
	if err != nil {
		tb.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	config := producer.Config{Kafka: conn, Outbox: o, Authentic: anyRow, Logger: slog.New(slog.DiscardHandler), Metrics: producer.NewMetrics(registry), FlushTimeout: 3 * time.Second}
	for _, f := range options {
		f(&config)
	}
	relay, err := producer.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				tb.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			tb.Error("Run does not return")
		}
	})
	tb.Cleanup(stop)
	return &running{relay, registry, stop}
}

// eventually polls until ok, and fails after a while.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("not in time: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// values gives what a topic holds, by key.
func values(messages []kafkago.Message) map[string][]string {
	found := map[string][]string{}
	for _, m := range messages {
		found[string(m.Key)] = append(found[string(m.Key)], string(m.Value))
	}
	return found
}

var allTopics = func() []kafkago.TopicConfig {
	var list []kafkago.TopicConfig
	for _, name := range schemas.OutputTypes() {
		list = append(list, kafkago.TopicConfig{Topic: name, NumPartitions: 3})
	}
	return list
}()
