package producer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/schemas"
)

// topicPollInterval is the pause before brokers are asked again for topics.
const topicPollInterval = 200 * time.Millisecond

// A TopicSpec is a topic as it should be made.
type TopicSpec struct {
	Name       string
	Partitions int           // 1 or more
	Replicas   int           // 0: three, or as many as there are brokers
	Retention  time.Duration // negative: for ever; 0: the broker's default
}

// ContractTopics lists the topics of the contract, inputs first, under the
// names that the mapping gives them.
func ContractTopics(mapping map[string]string, partitions, replicas int, retention time.Duration) []TopicSpec {
	c := Config{Topics: mapping}
	var specs []TopicSpec
	for _, name := range append(schemas.InputTypes(), schemas.OutputTypes()...) {
		specs = append(specs, TopicSpec{Name: c.topicOf(name), Partitions: partitions, Replicas: replicas, Retention: retention})
	}
	return specs
}

// A TopicState is a topic as it is.
type TopicState struct {
	Name       string
	Created    bool // just now
	Partitions int  // 0: it does not exist
	Replicas   int
	Err        error // why it could not be made; nil when it is there
}

// DescribeTopics tells how topics are, in their order, and changes nothing. What
// may pass by itself (a broker that is starting) is tried again until ctx ends;
// a topic that the user may not see is an error at once.
func DescribeTopics(ctx context.Context, conn *kafka.Cluster, names ...string) ([]TopicState, error) {
	transport := conn.Transport(names...)
	defer transport.CloseIdleConnections()
	found, _, err := describeTopics(ctx, conn.Client(transport), names)
	if err != nil {
		return nil, err
	}
	var states []TopicState
	for _, name := range names {
		state := found[name]
		state.Name = name
		states = append(states, state)
	}
	return states, nil
}

// CreateTopics makes the topics that do not exist and tells how all of them
// are. Existing ones are never changed. Where a topic has three replicas or
// more, two of them must have a result before it counts. The error is for what
// concerns all; what concerns one topic is in its state. Faults that may pass
// by themselves are waited out until ctx ends.
func CreateTopics(ctx context.Context, conn *kafka.Cluster, specs []TopicSpec) ([]TopicState, error) {
	transport := conn.Transport()
	defer transport.CloseIdleConnections()
	client := conn.Client(transport)
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	before, brokers, err := describeTopics(ctx, client, names)
	if err != nil {
		return nil, err
	}
	request := &kafkago.CreateTopicsRequest{}
	for _, s := range specs {
		if _, exists := before[s.Name]; !exists {
			request.Topics = append(request.Topics, s.config(brokers))
		}
	}
	made := map[string]error{}
	if len(request.Topics) > 0 {
		answer, err := client.CreateTopics(ctx, request)
		if err != nil {
			return nil, kafka.Wrap(err)
		}
		made = answer.Errors
	}
	after, err := awaitTopics(ctx, client, names, made)
	if err != nil {
		return nil, err
	}
	var states []TopicState
	for _, s := range specs {
		state, exists := after[s.Name]
		state.Name = s.Name
		reason, tried := made[s.Name]
		switch {
		case tried && reason == nil:
			state.Created = true
		case tried && !errors.Is(reason, kafkago.TopicAlreadyExists):
			state.Err = kafka.Wrap(reason)
		case !exists:
			state.Err = errors.New("producer: it is not to be seen yet")
		}
		states = append(states, state)
	}
	return states, nil
}

func (s TopicSpec) config(brokers int) kafkago.TopicConfig {
	config := kafkago.TopicConfig{Topic: s.Name, NumPartitions: s.Partitions, ReplicationFactor: s.Replicas}
	if s.Replicas == 0 {
		config.ReplicationFactor = max(1, min(3, brokers))
	}
	entry := func(name, value string) {
		config.ConfigEntries = append(config.ConfigEntries, kafkago.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	entry("cleanup.policy", "delete")
	if s.Retention != 0 {
		entry("retention.ms", strconv.FormatInt(max(s.Retention.Milliseconds(), -1), 10))
	}
	if config.ReplicationFactor >= 3 {
		entry("min.insync.replicas", "2")
	}
	return config
}

// describeTopics gives those of the topics that exist, and the number of brokers. It
// goes on until there is an answer, a fault that does not pass, or ctx ends.
func describeTopics(ctx context.Context, client *kafkago.Client, names []string) (map[string]TopicState, int, error) {
	var last error
	for {
		found, brokers, err := describeOnce(ctx, client, names)
		if err == nil {
			return found, brokers, nil
		}
		if ctx.Err() != nil && last != nil && kafka.ClassOf(err) == kafka.Timeout {
			err = last // this request was cut short
		}
		last = err
		switch kafka.ClassOf(err) {
		case kafka.Authentication, kafka.Authorization, kafka.TLSFault:
			return nil, 0, kafka.Wrap(err)
		}
		select {
		case <-ctx.Done():
			return nil, 0, kafka.Wrap(err)
		case <-time.After(topicPollInterval):
		}
	}
}

func describeOnce(ctx context.Context, client *kafkago.Client, names []string) (map[string]TopicState, int, error) {
	answer, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: names})
	if err != nil {
		return nil, 0, err
	}
	found := map[string]TopicState{}
	for _, t := range answer.Topics {
		switch {
		case errors.Is(t.Error, kafkago.UnknownTopicOrPartition):
		case t.Error != nil:
			return nil, 0, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		case len(t.Partitions) > 0:
			found[t.Name] = TopicState{Name: t.Name, Partitions: len(t.Partitions), Replicas: len(t.Partitions[0].Replicas)}
		}
	}
	return found, len(answer.Brokers), nil
}

// awaitTopics looks until the topics that were made can be seen, or ctx ends.
func awaitTopics(ctx context.Context, client *kafkago.Client, names []string, made map[string]error) (map[string]TopicState, error) {
	for {
		found, _, err := describeTopics(ctx, client, names)
		if err != nil {
			return nil, err
		}
		waiting := false
		for name, reason := range made {
			if _, ok := found[name]; !ok && reason == nil {
				waiting = true
			}
		}
		if !waiting {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return found, nil
		case <-time.After(topicPollInterval):
		}
	}
}

// CheckProducerIDs asks the cluster for a producer id. Without it results are
// published all the same; the error then is why there is none.
func CheckProducerIDs(ctx context.Context, conn *kafka.Cluster) (given bool, why error) {
	transport := conn.Transport()
	defer transport.CloseIdleConnections()
	r := &Relay{client: conn.Client(transport)}
	for {
		_, err := r.initProducerID(ctx)
		switch {
		case err == nil:
			return true, nil
		case deniesProducerID(err), ctx.Err() != nil:
			return false, kafka.Wrap(err)
		}
		select {
		case <-ctx.Done():
			return false, kafka.Wrap(err)
		case <-time.After(topicPollInterval):
		}
	}
}

// IsProducerIDDenied reports whether err says that the cluster gives the user no
// producer ids.
func IsProducerIDDenied(err error) bool { return deniesProducerID(err) }
