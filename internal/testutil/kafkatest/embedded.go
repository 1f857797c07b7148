package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Embedded gives a new cluster in this process. It is closed when the test
// ends.
func Embedded(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	c, err := startEmbedded(newConfig(opts))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func startEmbedded(config Config) (*Cluster, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if config.TLS {
		return nil, fmt.Errorf("kafkatest: the embedded broker has no certificates: %w", errors.ErrUnsupported)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(config.Brokers),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(config.MaxMessageBytes)}),
	}
	if s := config.SASL; s != nil {
		opts = append(opts, kfake.EnableSASL(), kfake.Superuser(s.Mechanism, s.Username, s.Password))
	}
	if config.Network != nil {
		opts = append(opts, kfake.ListenFn(config.Network.Listen))
	}
	fake, err := kfake.NewCluster(append(opts, config.Fake...)...)
	if err != nil {
		return nil, err
	}
	c := &Cluster{config: config, fake: fake, addresses: fake.ListenAddrs()}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.CreateTopics(ctx, config.Topics...); err != nil {
		fake.Close()
		return nil, err
	}
	return c, nil
}
