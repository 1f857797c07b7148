package kafkaconn_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/internal/kafkatest"
	"invoicebox-worker/internal/secret"
)

// Brokers that limit how long a session lasts do not interrupt anything: the
// connections authenticate again. A group lives on in its generation, and requests
// go over the connections that are open.
func TestConn_SessionsEnd(t *testing.T) {
	const lifetime = 5 * time.Second
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "in", 1)
		var dials, asked atomic.Int64
		var direct net.Dialer
		conn, err := kafkaconn.New(kafkaconn.Config{
			Brokers: c.Brokers(),
			SASL: &kafkaconn.SASL{Mechanism: kafkaconn.ScramSHA256, Username: "worker", Password: func() (p secret.String, err error) {
				asked.Add(1)
				return password("right")()
			}},
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				return direct.DialContext(ctx, network, address)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
			ID: "g", Brokers: conn.Brokers(), Topics: []string{topic}, Dialer: conn.Dialer(nil), HeartbeatInterval: 100 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = group.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var generation *kafka.Generation
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
		transport := conn.Transport()
		defer transport.CloseIdleConnections()
		client := conn.Client(transport)
		before := int64(0)
		for end := time.Now().Add(3 * lifetime); time.Now().Before(end); {
			if _, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: "g", Topics: map[string][]int{topic: {0}}}); err != nil {
				t.Errorf("a request: %v", kafkaconn.Explain(err))
			}
			if before == 0 {
				before = dials.Load()
			}
			select {
			case <-ended:
				t.Fatal("the generation ended")
			case <-time.After(lifetime / 7):
			}
		}
		if n := dials.Load(); n > before {
			t.Errorf("%d connections were opened anew", n-before)
		}
		if n := asked.Load(); n < dials.Load()+4 {
			t.Errorf("the password was asked for %d times, with %d connections", n, dials.Load())
		}
	}, kafkatest.WithSASL(kafkatest.SASL{Mechanism: kafkatest.ScramSHA256, Username: "worker", Password: "right"}),
		kafkatest.WithProperty("connections.max.reauth.ms", "5000"),
		kafkatest.WithFake(kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "5000"})))
}
