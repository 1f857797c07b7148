package consumer_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

func TestMain(m *testing.M) {
	cleanenv.Use()
	// The shared broker runs on until the process ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("invoicebox-worker/internal/testutil/kafkatest.(*node).own"))
}

type topicPartition struct {
	topic     string
	partition int
}

// inbox is a journal in memory: enough of one to see where records end.
type inbox struct {
	mu        sync.Mutex
	id        uuid.UUID
	positions map[topicPartition]int64
	behind    map[topicPartition]*journal.BatchMark
	digests   map[[32]byte]string
	events    []journal.Event
	letters   []journal.DeadLetter
	turned    []journal.ShopKey
	batches   []journal.Batch
	fail      func(journal.Batch) error // asked before a batch is taken
}

func newInbox() *inbox {
	return &inbox{id: uuid.New(), positions: map[topicPartition]int64{}, behind: map[topicPartition]*journal.BatchMark{}, digests: map[[32]byte]string{}}
}

func (i *inbox) Identity() uuid.UUID { return i.id }

func (i *inbox) Positions(context.Context) ([]journal.Position, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var list []journal.Position
	for p, next := range i.positions {
		list = append(list, journal.Position{Topic: p.topic, Partition: p.partition, Next: next, Behind: i.behind[p]})
	}
	return list, nil
}

func (i *inbox) InitPositions(_ context.Context, ps []journal.Position) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, p := range ps {
		at := topicPartition{p.Topic, p.Partition}
		if _, ok := i.positions[at]; !ok {
			i.positions[at] = p.Next
		}
	}
	return nil
}

func (i *inbox) Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return journal.Ingested{}, err
	}
	if i.fail != nil {
		if err := i.fail(b); err != nil {
			return journal.Ingested{}, err
		}
	}
	at := topicPartition{b.Topic, b.Partition}
	if i.positions[at] != b.From || b.Next < b.From {
		return journal.Ingested{}, journal.ErrPosition
	}
	var done journal.Ingested
	last := b.From - 1
	for _, e := range b.Events {
		if e.Offset <= last || e.Offset >= b.Next {
			return done, errors.New("offsets do not rise inside the batch")
		}
		last = e.Offset
		known, ok := i.digests[e.Identity]
		switch {
		case !ok:
			done.Accepted++
			i.digests[e.Identity] = string(e.Digests[0])
			i.events = append(i.events, e)
		case known == string(e.Digests[0]):
			done.Repeated++
		default:
			done.Reused++
			letter, err := e.ReusedLetter()
			if err != nil {
				return done, err
			}
			i.letters = append(i.letters, letter)
		}
	}
	for _, l := range b.DeadLetters {
		if _, err := l.Announce.Freeze(0); err != nil {
			return done, err
		}
		i.letters = append(i.letters, l)
	}
	i.turned = append(i.turned, b.Deselected...)
	i.positions[at], i.behind[at] = b.Next, b.Behind
	i.batches = append(i.batches, b)
	return done, nil
}

func (i *inbox) position(topic string, partition int) int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.positions[topicPartition{topic, partition}]
}

// begun lists the partitions that have a position.
func (i *inbox) begun() []journal.Position {
	list, _ := i.Positions(context.Background())
	return list
}

func (i *inbox) set(topic string, partition int, next int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.positions[topicPartition{topic, partition}] = next
	delete(i.behind, topicPartition{topic, partition})
}

func (i *inbox) setFail(f func(journal.Batch) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = f
}

func (i *inbox) taken() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.events)
}

// shops lists the shops of the events in the order in which they came in.
func (i *inbox) shops() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var list []string
	for _, e := range i.events {
		list = append(list, e.Shop.Shop)
	}
	return list
}

var _ consumer.Inbox = (*inbox)(nil)

// running is a consumer under test.
type running struct {
	*consumer.Consumer
	registry *prometheus.Registry
	done     chan error
	stop     func()
}

type option func(*consumer.Config)

func withStart(mode consumer.StartMode) option {
	return func(c *consumer.Config) { c.Start = consumer.Start{Mode: mode} }
}

// configure makes the settings of a consumer of one topic.
func configure(tb testing.TB, c *kafkatest.Cluster, group, topic string, j consumer.Inbox, options ...option) (consumer.Config, *prometheus.Registry) {
	tb.Helper()
	conn, err := kafka.New(kafka.Config{Brokers: c.Brokers(), ClientID: "consumer"})
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := testKeys()
	if err != nil {
		tb.Fatal(err)
	}
	decoder, err := schemas.NewDecoder(schemas.DecoderOptions{Types: map[string]string{topic: schemas.TypeProviderSelected}, Accounts: []string{"default", "second"}})
	if err != nil {
		tb.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	config := consumer.Config{
		Kafka: conn, Group: group, Topics: []string{topic}, Inbox: j, Decoder: decoder, Keys: keys,
		Logger: slog.New(slog.NewTextHandler(tb.Output(), nil)), Metrics: consumer.NewMetrics(registry), Start: consumer.Start{Mode: consumer.StartEarliest},
	}
	for _, f := range options {
		f(&config)
	}
	return config, registry
}

// start runs a consumer until the test ends.
func start(tb testing.TB, c *kafkatest.Cluster, group, topic string, j consumer.Inbox, options ...option) *running {
	tb.Helper()
	config, registry := configure(tb, c, group, topic, j, options...)
	own, err := consumer.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Consumer: own, registry: registry, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- own.Run(ctx)
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			tb.Error("Run does not return")
		}
	})
	tb.Cleanup(r.stop)
	return r
}

// ends waits for Run to end by itself.
func (r *running) ends(tb testing.TB, within time.Duration) error {
	tb.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(within):
		_, word := r.Ready()
		tb.Fatalf("Run has not ended after %v: %s", within, word)
		return nil
	}
}

// eventually polls until ok, and fails after a while.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("not in time: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// selected is a good event of a shop.
func selected(id, shop string) kafkago.Message {
	return kafkago.Message{Key: []byte(shop), Value: []byte(`{"shopId":"` + shop + `","provider":"invoicebox","email":"a@example.org"}`), Headers: []kafkago.Header{
		{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte(schemas.TypeProviderSelected)},
		{Key: "ce_source", Value: []byte("/platform")}, {Key: "ce_id", Value: []byte(id)}, {Key: "content-type", Value: []byte("application/json")},
	}}
}

// testKeys are one keyset for all workers, as they are in life.
var testKeys = sync.OnceValues(keyset.New)

// group makes a name that no other test has.
func group() string { return "group-" + uuid.NewString()[:8] }
