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

// lookAgain is the pause before brokers are asked again for topics.
const lookAgain = 200 * time.Millisecond

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

// LookAtTopics tells how topics are, in their order, and changes nothing. What
// may pass by itself (a broker that is starting) is tried again until ctx ends;
// a topic that the user may not see is an error at once.
func LookAtTopics(ctx context.Context, conn *kafka.Conn, names ...string) ([]TopicState, error) {
	transport := conn.Transport(names...)
	defer transport.CloseIdleConnections()
	found, _, err := lookAt(ctx, conn.Client(transport), names)
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

// EnsureTopics makes the topics that do not exist and tells how all of them
// are. Existing ones are never changed. Where a topic has three replicas or
// more, two of them must have a result before it counts. The error is for what
// concerns all; what concerns one topic is in its state. Faults that may pass
// by themselves are waited out until ctx ends.
func EnsureTopics(ctx context.Context, conn *kafka.Conn, specs []TopicSpec) ([]TopicState, error) {
	transport := conn.Transport()
	defer transport.CloseIdleConnections()
	client := conn.Client(transport)
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	before, brokers, err := lookAt(ctx, client, names)
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
			return nil, kafka.Explain(err)
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
			state.Err = kafka.Explain(reason)
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

// lookAt gives those of the topics that exist, and the number of brokers. It
// goes on until there is an answer, a fault that does not pass, or ctx ends.
func lookAt(ctx context.Context, client *kafkago.Client, names []string) (map[string]TopicState, int, error) {
	var last error
	for {
		found, brokers, err := lookOnce(ctx, client, names)
		if err == nil {
			return found, brokers, nil
		}
		if ctx.Err() != nil && last != nil && kafka.ClassOf(err) == kafka.Timeout {
			err = last // this request was cut short
		}
		last = err
		switch kafka.ClassOf(err) {
		case kafka.Authentication, kafka.Authorization, kafka.TLSFault:
			return nil, 0, kafka.Explain(err)
		}
		select {
		case <-ctx.Done():
			return nil, 0, kafka.Explain(err)
		case <-time.After(lookAgain):
		}
	}
}

func lookOnce(ctx context.Context, client *kafkago.Client, names []string) (map[string]TopicState, int, error) {
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
		found, _, err := lookAt(ctx, client, names)
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
		case <-time.After(lookAgain):
		}
	}
}

// GivesProducerIDs asks the cluster for a producer id. Without it results are
// published all the same; the error then is why there is none.
func GivesProducerIDs(ctx context.Context, conn *kafka.Conn) (given bool, why error) {
	transport := conn.Transport()
	defer transport.CloseIdleConnections()
	r := &Relay{client: conn.Client(transport)}
	for {
		_, err := r.newIdentity(ctx)
		switch {
		case err == nil:
			return true, nil
		case refusesIdentity(err), ctx.Err() != nil:
			return false, kafka.Explain(err)
		}
		select {
		case <-ctx.Done():
			return false, kafka.Explain(err)
		case <-time.After(lookAgain):
		}
	}
}

// RefusesProducerIDs reports whether err says that the cluster gives the user no
// producer ids.
func RefusesProducerIDs(err error) bool { return refusesIdentity(err) }
