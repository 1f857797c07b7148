package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
)

const (
	metadataTimeout   = 15 * time.Second
	topicPollInterval = 200 * time.Millisecond
)

// Metadata is a cluster's description of topics.
type Metadata struct {
	Topics  map[string]Topic // by name; one that does not exist is not in it
	Brokers int              // how many the cluster has
}

// A Topic is a topic in the metadata.
type Topic struct {
	Partitions []Partition // by id; a partition without a leader is in it
	Replicas   int         // of a partition
	Err        error       // why the topic is not described; nil if it is
}

// A Partition is a partition in the metadata.
type Partition struct {
	ID            int
	LeaderID      int
	LeaderAddress string // "" without a leader
}

// DescribeTopics asks the cluster once for the metadata of topics.
func DescribeTopics(ctx context.Context, client *kafkago.Client, names ...string) (*Metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	response, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: names})
	if err != nil {
		return nil, err
	}
	m := &Metadata{Topics: map[string]Topic{}, Brokers: len(response.Brokers)}
	for _, t := range response.Topics {
		if errors.Is(t.Error, kafkago.UnknownTopicOrPartition) || t.Error == nil && len(t.Partitions) == 0 {
			continue
		}
		topic := Topic{}
		if t.Error != nil {
			topic.Err = fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			part := Partition{ID: p.ID, LeaderID: p.Leader.ID}
			if p.Leader.Host != "" {
				part.LeaderAddress = net.JoinHostPort(p.Leader.Host, strconv.Itoa(p.Leader.Port))
			}
			topic.Partitions = append(topic.Partitions, part)
			topic.Replicas = max(topic.Replicas, len(p.Replicas))
		}
		slices.SortFunc(topic.Partitions, func(x, y Partition) int { return cmp.Compare(x.ID, y.ID) })
		m.Topics[t.Name] = topic
	}
	return m, nil
}

// Err returns the error of the first topic, by name, that is not described.
func (m *Metadata) Err() error {
	first := ""
	for name, t := range m.Topics {
		if t.Err != nil && (first == "" || name < first) {
			first = name
		}
	}
	return m.Topics[first].Err
}

// A TopicSpec describes a topic to create.
type TopicSpec struct {
	Name       string
	Partitions int           // at least 1
	Replicas   int           // 0: the lesser of three and the number of brokers
	Retention  time.Duration // negative: for ever; 0: the broker's default
}

// A TopicState is the state of a topic.
type TopicState struct {
	Name       string
	Created    bool // by this call
	Partitions int  // 0: it does not exist
	Replicas   int
	Err        error // why it was not created; nil if it exists
}

// TopicStates returns the state of topics, in the order of their names in the call, and
// changes nothing. Temporary faults are retried until ctx ends.
func TopicStates(ctx context.Context, cluster *Cluster, names ...string) ([]TopicState, error) {
	transport := cluster.Transport(names...)
	defer transport.CloseIdleConnections()
	m, err := awaitMetadata(ctx, cluster.Client(transport), names)
	if err != nil {
		return nil, err
	}
	var states []TopicState
	for _, name := range names {
		states = append(states, m.state(name))
	}
	return states, nil
}

func (m *Metadata) state(name string) TopicState {
	t := m.Topics[name]
	return TopicState{Name: name, Partitions: len(t.Partitions), Replicas: t.Replicas}
}

// CreateTopics creates the topics that do not exist, and returns the state of all.
// Existing topics are not changed. A topic with three or more replicas gets
// min.insync.replicas 2. The error is one that concerns all topics; the error of one topic
// is in its state. Temporary faults are retried until ctx ends.
func CreateTopics(ctx context.Context, cluster *Cluster, specs []TopicSpec) ([]TopicState, error) {
	transport := cluster.Transport()
	defer transport.CloseIdleConnections()
	client := cluster.Client(transport)
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	before, err := awaitMetadata(ctx, client, names)
	if err != nil {
		return nil, err
	}
	request := &kafkago.CreateTopicsRequest{}
	for _, s := range specs {
		if _, exists := before.Topics[s.Name]; !exists {
			request.Topics = append(request.Topics, s.config(before.Brokers))
		}
	}
	results := map[string]error{}
	if len(request.Topics) > 0 {
		response, err := client.CreateTopics(ctx, request)
		if err != nil {
			return nil, Wrap(err)
		}
		results = response.Errors
	}
	after, err := awaitCreated(ctx, client, names, results)
	if err != nil {
		return nil, err
	}
	var states []TopicState
	for _, s := range specs {
		state := after.state(s.Name)
		failure, requested := results[s.Name]
		switch {
		case requested && failure == nil:
			state.Created = true
		case requested && !errors.Is(failure, kafkago.TopicAlreadyExists):
			state.Err = Wrap(failure)
		case state.Partitions == 0:
			state.Err = errors.New("kafka: the topic was created and the brokers do not list it yet")
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
	set := func(name, value string) {
		config.ConfigEntries = append(config.ConfigEntries, kafkago.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	set(settingCleanup, "delete")
	if s.Retention != 0 {
		set(settingRetention, strconv.FormatInt(max(s.Retention.Milliseconds(), -1), 10))
	}
	if config.ReplicationFactor >= 3 {
		set(settingInSync, "2")
	}
	return config
}

// awaitMetadata requests metadata until the cluster describes all topics that exist, the
// user is denied access, or ctx ends.
func awaitMetadata(ctx context.Context, client *kafkago.Client, names []string) (m *Metadata, err error) {
	err = backoff.Retry(ctx, topicPollInterval, IsDenied, func() error {
		if m, err = DescribeTopics(ctx, client, names...); err != nil {
			return err
		}
		return m.Err()
	})
	return m, Wrap(err)
}

// awaitCreated requests metadata until the created topics are in it, or ctx ends.
func awaitCreated(ctx context.Context, client *kafkago.Client, names []string, results map[string]error) (*Metadata, error) {
	for {
		m, err := awaitMetadata(ctx, client, names)
		if err != nil {
			return nil, err
		}
		waiting := false
		for name, failure := range results {
			if _, listed := m.Topics[name]; !listed && failure == nil {
				waiting = true
			}
		}
		if waiting {
			backoff.Sleep(ctx, topicPollInterval)
		}
		if !waiting || ctx.Err() != nil {
			return m, nil //nolint:nilerr // the states name the topics that are not listed yet
		}
	}
}
