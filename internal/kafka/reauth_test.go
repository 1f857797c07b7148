package kafka_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// Brokers that limit how long a session lasts do not interrupt anything: the
// connections authenticate again. A group lives on in its generation, and requests
// go over the connections that are open.
func testClusterReauthenticates(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "in", 1)
		var dials, asked, closed atomic.Int64
		var direct net.Dialer
		cluster, err := kafka.New(kafka.Config{
			Brokers: c.Brokers(),
			SASL: &kafka.SASL{Mechanism: kafka.ScramSHA256, Username: "worker", Password: func() (p secret.String, err error) {
				asked.Add(1)
				return password("right")()
			}},
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				cluster, err := direct.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return closing{cluster, &closed}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
			ID: "g", Brokers: cluster.Brokers(), Topics: []string{topic}, Dialer: cluster.Dialer(nil), HeartbeatInterval: 100 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = group.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var generation *kafkago.Generation
		for generation == nil {
			generation, err = group.Next(ctx)
			if err != nil && ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan struct{})
		generation.Start(func(life context.Context) {
			<-life.Done()
			close(ended)
		})
		transport := cluster.Transport()
		defer transport.CloseIdleConnections()
		client := cluster.Client(transport)
		before := closed.Load()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		// A request that comes while another is in work may open one more connection.
		for again := int64(0); again < 5; again = asked.Load() - dials.Load() {
			if _, err := client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: "g", Topics: map[string][]int{topic: {0}}}); err != nil {
				t.Fatalf("a request, after %d authentications on open connections: %v", again, kafka.Wrap(err))
			}
			select {
			case <-ended:
				t.Fatal("the generation ended")
			case <-tick.C:
			}
		}
		if n := closed.Load() - before; n != 0 {
			t.Errorf("%d connections were closed", n)
		}
	}, kafkatest.WithSASL(kafkatest.SASL{Mechanism: kafkatest.ScramSHA256, Username: "worker", Password: "right"}),
		kafkatest.WithProperty("connections.max.reauth.ms", "5000"),
		kafkatest.WithFake(kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "500"})))
}

// A closing connection counts that it was closed.
type closing struct {
	net.Conn
	times *atomic.Int64
}

func (c closing) Close() error {
	c.times.Add(1)
	return c.Conn.Close()
}
