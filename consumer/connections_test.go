package consumer_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// All partitions of a broker share one connection.
func testFetcherConnections(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 60), newInbox()
	c.Produce(t, topic, manyFrom(0, 600))
	var open, most atomic.Int64
	conn, err := kafka.New(kafka.Config{Brokers: c.Brokers(), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		most.Store(max(most.Load(), open.Add(1)))
		return &counted{raw, sync.OnceFunc(func() { open.Add(-1) })}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, c, group(), topic, j, func(c *consumer.Config) { c.Kafka = conn })
	eventually(t, "all events", func() bool { return j.taken() == 600 })
	if n := most.Load(); n > 8 {
		t.Errorf("%d connections", n)
	} else {
		t.Logf("%d connections at most", n)
	}
}

type counted struct {
	net.Conn
	closed func()
}

func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}

// Events that come one by one to partitions that are just being read do not wait
// for the others' long poll.
func testFetcherLatency(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 12), newInbox()
	start(t, c, group(), topic, j)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	put := func(i int) {
		m := manyFrom(i, 1)[0]
		r := &kgo.Record{Topic: topic, Partition: 3, Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the event", func() bool { return j.taken() == i+1 })
	}
	put(0)
	began := time.Now()
	for i := range 20 {
		put(i + 1)
	}
	// 20 long polls would take 10 s.
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("20 events took %v", took)
	} else {
		t.Logf("20 events took %v", took)
	}
}
