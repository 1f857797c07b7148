package kafka_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
)

const bootstrap = "bootstrap.example:9092"

// behind makes a connection whose configured broker is reached, and for which
// the advertised addresses are dialled by far.
func behind(t *testing.T, c *kafkatest.Cluster, far kafka.DialFunc) *kafka.Cluster {
	t.Helper()
	var direct net.Dialer
	cluster, err := kafka.New(kafka.Config{Brokers: []string{bootstrap}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == bootstrap {
			return direct.DialContext(ctx, network, c.Brokers()[0])
		}
		return far(ctx, network, address)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func request(t *testing.T, cluster *kafka.Cluster, within time.Duration, f func(context.Context, *kafkago.Client) error) error {
	t.Helper()
	var lines kafka.ConnTracker
	transport := lines.Transport(cluster)
	defer lines.CloseAll()
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return kafka.Wrap(f(ctx, cluster.Client(transport)))
}

func commits(ctx context.Context, client *kafkago.Client) error {
	_, err := client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: "g", Topics: map[string][]int{"in": {0}}})
	return err
}

func TestCluster(t *testing.T) {
	t.Run("SASL", testClusterSASL)
	t.Run("SASLOnApacheKafka", testClusterSASLOnApacheKafka)
	t.Run("TLSWithoutTLSListener", testClusterTLSWithoutTLSListener)
	t.Run("UnreachableBroker", testClusterUnreachableBroker)
	t.Run("NamesUnreachableAddress", testClusterNamesUnreachableAddress)
	t.Run("PlaintextBeyondLoopback", testClusterPlaintextBeyondLoopback)
	t.Run("PlaintextToAdvertisedAddress", testClusterPlaintextToAdvertisedAddress)
	t.Run("LocalhostIsLoopback", testClusterLocalhostIsLoopback)
	t.Run("ConnectionClosedAfterResponses", testClusterConnectionClosedAfterResponses)
	t.Run("Reauthenticates", testClusterReauthenticates)
}

// An advertised address that cannot be reached is named, also where the request
// ends by its deadline while the address does not answer.
func testClusterNamesUnreachableAddress(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopic("in", 1))
	advertised := c.Brokers()[0]
	for name, far := range map[string]kafka.DialFunc{
		"Refused": func(_ context.Context, network, _ string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
		},
		"Silent": func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := request(t, behind(t, c, far), 1500*time.Millisecond, commits)
			if kafka.ClassOf(err) != kafka.Unreachable || !strings.Contains(err.Error(), "advertise "+advertised) {
				t.Errorf("%v", err)
			}
			if name == "Refused" && !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("the cause is missing: %v", err)
			}
			if name == "Silent" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the time-out is missing: %v", err)
			}
		})
	}
	t.Run("Configured", func(t *testing.T) {
		cluster, err := kafka.New(kafka.Config{Brokers: []string{"127.0.0.1:1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := request(t, cluster, 5*time.Second, commits); !strings.Contains(err.Error(), "broker 127.0.0.1:1 cannot be reached") {
			t.Errorf("%v", err)
		}
	})
	t.Run("ReachedAgain", func(t *testing.T) {
		var once sync.Once
		var direct net.Dialer
		cluster := behind(t, c, func(ctx context.Context, network, address string) (cluster net.Conn, err error) {
			once.Do(func() { err = errors.New("connection refused") })
			if err != nil {
				return nil, err
			}
			return direct.DialContext(ctx, network, address)
		})
		if err := request(t, cluster, 5*time.Second, commits); err == nil {
			t.Error("the first connection was not refused")
		}
		if err := request(t, cluster, 5*time.Second, commits); err != nil {
			t.Fatal(err)
		}
		if err := cluster.ExplainUnreachable(context.DeadlineExceeded); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), advertised) {
			t.Errorf("an address that is reached is blamed: %v", err)
		}
	})
}

// SASL PLAIN without TLS sends the password to loopback addresses only, wherever
// the address comes from. Other configurations without TLS name their addresses.
func testClusterPlaintextBeyondLoopback(t *testing.T) {
	plain := &kafka.SASL{Mechanism: kafka.Plain, Username: "worker", Password: password("marker-pw")}
	scram := &kafka.SASL{Mechanism: kafka.ScramSHA512, Username: "worker", Password: password("marker-pw")}
	for _, row := range []struct {
		name    string
		config  kafka.Config
		refused bool
		warned  string
	}{
		{"PlainFar", kafka.Config{Brokers: []string{"127.0.0.1:1", "10.0.0.1:9092"}, SASL: plain}, true, ""},
		{"PlainName", kafka.Config{Brokers: []string{"kafka:9092"}, SASL: plain}, true, ""},
		{"PlainNameLikeLocalhost", kafka.Config{Brokers: []string{"localhost.example:9092"}, SASL: plain}, true, ""},
		{"PlainUnspecified", kafka.Config{Brokers: []string{"0.0.0.0:9092"}, SASL: plain}, true, ""},
		{"PlainLoopback", kafka.Config{Brokers: []string{"127.8.0.1:1", "[::1]:1", "localhost:1", "LOCALHOST.:1"}, SASL: plain}, false, ""},
		{"PlainTLS", kafka.Config{Brokers: []string{"10.0.0.1:9092"}, SASL: plain, TLS: &kafka.TLS{}}, false, ""},
		{"ScramFar", kafka.Config{Brokers: []string{"kafka:9092"}, SASL: scram}, false, "kafka:9092"},
		{"NothingFar", kafka.Config{Brokers: []string{"b:1", "a:1", "localhost:1"}}, false, "a:1, b:1"},
		{"TLSFar", kafka.Config{Brokers: []string{"kafka:9092"}, TLS: &kafka.TLS{}}, false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			cluster, err := kafka.New(row.config)
			if row.refused {
				if !errors.Is(err, kafka.ErrPlaintextPassword) || !strings.Contains(err.Error(), "kafka-tls") || strings.Contains(err.Error(), "marker-pw") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := cluster.PlaintextBrokers(); got != row.warned {
				t.Errorf("in the clear: %q, want %q", got, row.warned)
			}
		})
	}
}

// Brokers on loopback that advertise another address do not get the password
// there.
func testClusterPlaintextToAdvertisedAddress(t *testing.T) {
	for _, mechanism := range []string{kafka.Plain, kafka.ScramSHA256} {
		t.Run(mechanism, func(t *testing.T) {
			var mu sync.Mutex
			var dialled []string
			cluster, err := kafka.New(kafka.Config{
				Brokers: []string{"localhost:1"}, SASL: &kafka.SASL{Mechanism: mechanism, Username: "worker", Password: password("marker-pw")},
				Dial: func(_ context.Context, _, address string) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					dialled = append(dialled, address)
					return nil, errors.New("closed")
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = cluster.Dialer(nil).DialContext(t.Context(), "tcp", "10.0.0.1:9092")
			if plain := mechanism == kafka.Plain; err == nil || plain != errors.Is(err, kafka.ErrPlaintextPassword) || plain == slices.Contains(dialled, "10.0.0.1:9092") {
				t.Errorf("%v; dialled %v", err, dialled)
			}
			if got := cluster.PlaintextBrokers(); mechanism != kafka.Plain && got != "10.0.0.1:9092" {
				t.Errorf("in the clear: %q", got)
			}
		})
	}
}

// No resolver is asked for the name localhost.
func testClusterLocalhostIsLoopback(t *testing.T) {
	var dialled []string
	cluster, err := kafka.New(kafka.Config{Brokers: []string{"localhost:7"}, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return nil, errors.New("closed")
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"localhost:7", "LocalHost.:7"} {
		dialled = nil
		if _, err := cluster.Dialer(nil).DialContext(t.Context(), "tcp", address); err == nil || !slices.Equal(dialled, []string{"127.0.0.1:7", "[::1]:7"}) {
			t.Errorf("%s: dialled %v, %v", address, dialled, err)
		}
	}
}

// A connection that is closed after requests were answered does not blame TLS or
// the password.
func testClusterConnectionClosedAfterResponses(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopic("in", 1))
	cluster, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	if err := kafka.Wrap(cluster.ExplainUnreachable(io.EOF)); !strings.Contains(err.Error(), "password") {
		t.Errorf("before the first answer: %v", err)
	}
	if err := request(t, cluster, 5*time.Second, commits); err != nil {
		t.Fatal(err)
	}
	for _, closed := range []error{io.EOF, io.ErrUnexpectedEOF} {
		if err := kafka.Wrap(cluster.ExplainUnreachable(closed)); strings.Contains(err.Error(), "password") || kafka.ClassOf(err) != kafka.Unreachable {
			t.Errorf("after an answer: %v", err)
		}
	}
}
