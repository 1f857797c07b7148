package kafkatest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
)

// defaultMaxMessageBytes is Kafka's own default of message.max.bytes.
const defaultMaxMessageBytes = 1_048_588

// The SASL mechanisms that a cluster can ask for.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// SASL is what clients must authenticate with. Only made-up passwords belong
// here.
type SASL struct {
	Mechanism string // Plain, ScramSHA256 or ScramSHA512
	Username  string
	Password  string
}

// Config describes a cluster. The zero value is one broker without topics.
type Config struct {
	// Brokers is their number, 1 to 9; 0 means 1.
	Brokers int
	// Topics exist when the cluster is handed out. A NumPartitions of 0 means
	// 1, a ReplicationFactor of 0 means the lesser of 3 and Brokers.
	Topics []kafkago.TopicConfig
	// MaxMessageBytes is the largest batch that a broker takes; 0 means
	// Kafka's default, 1,048,588.
	MaxMessageBytes int
	// SASL makes clients authenticate, without TLS unless TLS is set.
	SASL *SASL
	// TLS makes the brokers speak TLS with their clients, see [WithTLS]. Apache
	// Kafka only.
	TLS bool

	// Properties are added to server.properties and win over what stands
	// there. Apache Kafka only.
	Properties map[string]string
	// JarDir is the folder with Kafka's jars; empty means what
	// INVOICEBOX_TEST_KAFKA names. Apache Kafka only.
	JarDir string

	// Fake are options for the embedded broker, after all others. Embedded
	// only.
	Fake []kfake.Opt
	// Network, when set, carries the embedded broker's traffic in memory, so
	// that a test in a synctest bubble runs in virtual time. Embedded only.
	Network *kfake.VirtualNetwork
}

// Option changes one thing of a Config.
type Option func(*Config)

// WithBrokers sets the number of brokers, 1 to 9.
func WithBrokers(n int) Option { return func(c *Config) { c.Brokers = n } }

// WithTopic adds a topic with so many partitions.
func WithTopic(name string, partitions int) Option {
	return WithTopics(kafkago.TopicConfig{Topic: name, NumPartitions: partitions})
}

// WithTopics adds topics with settings of their own.
func WithTopics(topics ...kafkago.TopicConfig) Option {
	return func(c *Config) { c.Topics = append(c.Topics, topics...) }
}

// WithMaxMessageBytes sets the largest batch that a broker takes.
func WithMaxMessageBytes(n int) Option { return func(c *Config) { c.MaxMessageBytes = n } }

// WithSASL makes clients authenticate.
func WithSASL(s SASL) Option { return func(c *Config) { c.SASL = &s } }

// WithProperty sets one line of server.properties of Apache Kafka; the embedded
// broker does not see it.
func WithProperty(name, value string) Option {
	return func(c *Config) {
		if c.Properties == nil {
			c.Properties = map[string]string{}
		}
		c.Properties[name] = value
	}
}

// WithFake adds options for the embedded broker; Apache Kafka does not see
// them.
func WithFake(opts ...kfake.Opt) Option {
	return func(c *Config) { c.Fake = append(c.Fake, opts...) }
}

// WithNetwork carries the embedded broker's traffic in memory; Apache Kafka
// does not see it.
func WithNetwork(n *kfake.VirtualNetwork) Option { return func(c *Config) { c.Network = n } }

func newConfig(opts []Option) Config {
	var c Config
	for _, opt := range opts {
		opt(&c)
	}
	return c
}

// withDefaults returns a checked copy in which nothing is left open.
func (c Config) withDefaults() (Config, error) {
	if c.Brokers == 0 {
		c.Brokers = 1
	}
	if c.Brokers < 1 || c.Brokers > 9 {
		return c, fmt.Errorf("kafkatest: %d brokers: 1 to 9 are possible", c.Brokers)
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = defaultMaxMessageBytes
	}
	if c.MaxMessageBytes < 0 {
		return c, errors.New("kafkatest: MaxMessageBytes is negative")
	}
	if c.SASL != nil && !slices.Contains([]string{Plain, ScramSHA256, ScramSHA512}, c.SASL.Mechanism) {
		return c, fmt.Errorf("kafkatest: SASL mechanism %q is not known", c.SASL.Mechanism)
	}
	c.Topics = slices.Clone(c.Topics)
	c.Properties = maps.Clone(c.Properties)
	return c, nil
}
