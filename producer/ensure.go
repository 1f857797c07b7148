package producer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/schemas"
)

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
	Partitions int
	Replicas   int
	Err        error // why it could not be made; nil when it is there
}

// EnsureTopics makes the topics that do not exist and tells how all of them
// are. Existing ones are never changed. The error is for what concerns all;
// what concerns one topic is in its state.
func EnsureTopics(ctx context.Context, conn *kafkaconn.Conn, specs []TopicSpec) ([]TopicState, error) {
	transport := conn.Transport()
	defer transport.CloseIdleConnections()
	client := conn.Client(transport)
	before, brokers, err := lookAt(ctx, client, specs)
	if err != nil {
		return nil, err
	}
	request := &kafka.CreateTopicsRequest{}
	for _, s := range specs {
		if _, exists := before[s.Name]; exists {
			continue
		}
		config := kafka.TopicConfig{Topic: s.Name, NumPartitions: s.Partitions, ReplicationFactor: s.Replicas}
		if s.Replicas == 0 {
			config.ReplicationFactor = max(1, min(3, brokers))
		}
		if s.Retention != 0 {
			ms := max(s.Retention.Milliseconds(), -1)
			config.ConfigEntries = []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(ms, 10)}}
		}
		request.Topics = append(request.Topics, config)
	}
	made := map[string]error{}
	if len(request.Topics) > 0 {
		answer, err := client.CreateTopics(ctx, request)
		if err != nil {
			return nil, kafkaconn.Explain(err)
		}
		made = answer.Errors
	}
	after, err := awaitTopics(ctx, client, specs, made)
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
		case tried && !errors.Is(reason, kafka.TopicAlreadyExists):
			state.Err = kafkaconn.Explain(reason)
		case !exists:
			state.Err = fmt.Errorf("producer: topic %s is not to be seen yet", s.Name)
		}
		states = append(states, state)
	}
	return states, nil
}

// MissingTopics tells which of the topics do not exist or may not be seen.
func MissingTopics(ctx context.Context, conn *kafkaconn.Conn, names ...string) ([]string, error) {
	transport := conn.Transport(names...)
	defer transport.CloseIdleConnections()
	var specs []TopicSpec
	for _, n := range names {
		specs = append(specs, TopicSpec{Name: n})
	}
	found, _, err := lookAt(ctx, conn.Client(transport), specs)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, n := range names {
		if _, ok := found[n]; !ok {
			missing = append(missing, n)
		}
	}
	return missing, nil
}

func lookAt(ctx context.Context, client *kafka.Client, specs []TopicSpec) (map[string]TopicState, int, error) {
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	answer, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: names})
	if err != nil {
		return nil, 0, kafkaconn.Explain(err)
	}
	found := map[string]TopicState{}
	for _, t := range answer.Topics {
		if t.Error != nil || len(t.Partitions) == 0 {
			continue
		}
		found[t.Name] = TopicState{Name: t.Name, Partitions: len(t.Partitions), Replicas: len(t.Partitions[0].Replicas)}
	}
	return found, len(answer.Brokers), nil
}

// awaitTopics looks until the topics that were made can be seen.
func awaitTopics(ctx context.Context, client *kafka.Client, specs []TopicSpec, made map[string]error) (map[string]TopicState, error) {
	for {
		found, _, err := lookAt(ctx, client, specs)
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
		case <-time.After(100 * time.Millisecond):
		}
	}
}
