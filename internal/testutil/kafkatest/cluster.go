package kafkatest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kfake"

	"invoicebox-worker/internal/testutil/freeport"
)

const (
	// patience bounds everything that waits for a cluster which is up.
	patience = 3 * time.Minute
	// pollEvery is the pause between two looks at something that has no event.
	pollEvery = 50 * time.Millisecond
)

// Cluster is a running Kafka. Its methods may be called by several goroutines
// at once, but for one broker's Stop, Kill, Start, Pause and Resume, which come
// one after the other.
type Cluster struct {
	config    Config
	addresses []string

	fake  *kfake.Cluster   // nil for Apache Kafka
	nodes []*node          // nil for the embedded broker
	dir   *folder          // nil for the embedded broker
	ports []*freeport.Port // none for the embedded broker

	closeOnce sync.Once
	closeErr  error
}

// Brokers gives the addresses of all brokers, host:port, in the order of their
// numbers, also of those that are stopped.
func (c *Cluster) Brokers() []string { return slices.Clone(c.addresses) }

// Fake is the embedded broker, for its faults, controls and leader moves; nil
// for Apache Kafka.
func (c *Cluster) Fake() *kfake.Cluster { return c.fake }

// Close ends every broker at once and removes their files. Embedded and Real
// call it when the test ends; after StartReal it is the caller's to call. A
// second call gives what the first one gave.
func (c *Cluster) Close() error {
	c.closeOnce.Do(func() {
		if c.fake != nil {
			c.fake.Close()
			return
		}
		var errs []error
		for _, n := range c.nodes {
			errs = append(errs, n.close())
		}
		errs = append(errs, c.dir.close())
		for _, p := range c.ports {
			errs = append(errs, p.Close())
		}
		c.closeErr = errors.Join(errs...)
	})
	return c.closeErr
}

// Mechanism is what a client has to put into its Dialer and Transport to
// authenticate; nil where the cluster does not ask for it.
func (c *Cluster) Mechanism() (sasl.Mechanism, error) {
	s := c.config.SASL
	switch {
	case s == nil:
		return nil, nil
	case s.Mechanism == Plain:
		return plain.Mechanism{Username: s.Username, Password: s.Password}, nil
	case s.Mechanism == ScramSHA256:
		return scram.Mechanism(scram.SHA256, s.Username, s.Password)
	default:
		return scram.Mechanism(scram.SHA512, s.Username, s.Password)
	}
}

// CreateTopics creates topics and returns when every running broker knows a
// leader for each of their partitions. A NumPartitions of 0 means 1, a
// ReplicationFactor of 0 means the lesser of 3 and the number of brokers. A
// topic that exists already is an error.
func (c *Cluster) CreateTopics(ctx context.Context, topics ...kafkago.TopicConfig) error {
	if len(topics) == 0 {
		return nil
	}
	topics = slices.Clone(topics)
	for i := range topics {
		if topics[i].NumPartitions == 0 {
			topics[i].NumPartitions = 1
		}
		if topics[i].ReplicationFactor == 0 {
			topics[i].ReplicationFactor = min(3, len(c.addresses))
		}
	}
	client, done, err := c.client()
	if err != nil {
		return err
	}
	defer done()
	response, err := client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: topics})
	if err != nil {
		return fmt.Errorf("kafkatest: creating topics: %w", err)
	}
	for name, err := range response.Errors {
		if err != nil {
			return fmt.Errorf("kafkatest: creating topic %s: %w", name, err)
		}
	}
	for _, topic := range topics {
		for i, address := range c.addresses {
			if i < len(c.nodes) && !c.nodes[i].running() {
				continue
			}
			err := poll(ctx, func() error { return c.hasLeaders(ctx, address, topic) })
			if err != nil {
				return fmt.Errorf("kafkatest: topic %s on broker %d: %w", topic.Topic, i, err)
			}
		}
	}
	return nil
}

// NewTopic creates a topic with a name that no other test has, which begins
// with base, and gives the name.
func (c *Cluster) NewTopic(tb testing.TB, base string, partitions int) string {
	tb.Helper()
	name := base + "-" + strings.ToLower(rand.Text()[:10])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.CreateTopics(ctx, kafkago.TopicConfig{Topic: name, NumPartitions: partitions}); err != nil {
		tb.Fatal(err)
	}
	return name
}

// DeleteTopic deletes a topic.
func (c *Cluster) DeleteTopic(tb testing.TB, topic string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(c.Brokers()...), Timeout: 20 * time.Second, Transport: transport}
	answer, err := client.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{topic}})
	if err == nil {
		err = answer.Errors[topic]
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func (c *Cluster) hasLeaders(ctx context.Context, address string, topic kafkago.TopicConfig) error {
	conn, err := c.dial(ctx, address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	partitions, err := conn.ReadPartitions(topic.Topic)
	if err != nil {
		return err
	}
	if len(partitions) != topic.NumPartitions {
		return fmt.Errorf("%d of %d partitions", len(partitions), topic.NumPartitions)
	}
	for _, p := range partitions {
		if p.Leader.Host == "" {
			return fmt.Errorf("partition %d has no leader", p.ID)
		}
	}
	return nil
}

// dial opens a connection to one broker, bounded by the context.
func (c *Cluster) dial(ctx context.Context, address string) (*kafkago.Conn, error) {
	mechanism, err := c.Mechanism()
	if err != nil {
		return nil, err
	}
	secured, err := c.tls()
	if err != nil {
		return nil, err
	}
	dialer := &kafkago.Dialer{Timeout: 5 * time.Second, SASLMechanism: mechanism, TLS: secured}
	if c.config.Network != nil {
		dialer.DialFunc = c.config.Network.DialContext
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// client makes a client that knows nothing yet: a new one for each use sees
// topics and leaders as they are, and leaves no goroutine behind.
func (c *Cluster) client() (*kafkago.Client, func(), error) {
	mechanism, err := c.Mechanism()
	if err != nil {
		return nil, nil, err
	}
	secured, err := c.tls()
	if err != nil {
		return nil, nil, err
	}
	transport := &kafkago.Transport{SASL: mechanism, TLS: secured, MetadataTTL: time.Second}
	if c.config.Network != nil {
		transport.Dial = c.config.Network.DialContext
	} else {
		transport.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	}
	client := &kafkago.Client{Addr: kafkago.TCP(c.addresses...), Timeout: 30 * time.Second, Transport: transport}
	return client, transport.CloseIdleConnections, nil
}

// poll calls f until it succeeds or the context ends; the error is f's last.
func poll(ctx context.Context, f func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
