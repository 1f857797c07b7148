package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// A TopicSafety is the part of a topic's settings on which the loss of its records
// depends.
type TopicSafety struct {
	Name              string
	Partitions        int // 0: it does not exist
	Replicas          int
	Brokers           int           // of the cluster
	MinInsyncReplicas int           // 0: the broker did not report it
	Retention         time.Duration // retention.ms; negative: for ever
}

// InspectTopics returns the safety of topics, in the order of their names in the call.
// The user needs the right to describe the configuration of the topics.
func InspectTopics(ctx context.Context, cluster *Cluster, names ...string) ([]TopicSafety, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	transport := cluster.Transport(names...)
	defer transport.CloseIdleConnections()
	m, err := awaitMetadata(ctx, cluster.Client(transport), names)
	if err != nil {
		return nil, err
	}
	all, err := topicSettings(ctx, cluster, names, settingCleanup, settingRetention, settingInSync)
	if err != nil {
		return nil, err
	}
	var found []TopicSafety
	for _, name := range names {
		state, settings := m.state(name), all[name]
		s := TopicSafety{Name: name, Partitions: state.Partitions, Replicas: state.Replicas, Brokers: m.Brokers, Retention: -1}
		if text, ok := settings[settingInSync]; ok {
			if s.MinInsyncReplicas, err = strconv.Atoi(text); err != nil {
				return nil, fmt.Errorf("kafka: topic %s: setting %s is not a number", name, settingInSync)
			}
		}
		if deletes(settings) {
			ms, err := strconv.ParseInt(settings[settingRetention], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("kafka: topic %s: setting %s is missing or not a number", name, settingRetention)
			}
			if ms >= 0 && ms < (1<<62)/int64(time.Millisecond) {
				s.Retention = time.Duration(ms) * time.Millisecond
			}
		}
		found = append(found, s)
	}
	return found, nil
}

// HasRecordsSince returns the topics that have a record with this time or a later one. The
// time of a record is that of its producer's clock, or of the broker's if the topic has
// message.timestamp.type LogAppendTime.
func HasRecordsSince(ctx context.Context, cluster *Cluster, since time.Time, names ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	transport := cluster.Transport(names...)
	defer transport.CloseIdleConnections()
	client := cluster.Client(transport)
	m, err := awaitMetadata(ctx, client, names)
	if err != nil {
		return nil, err
	}
	request := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}}
	for name, t := range m.Topics {
		for _, p := range t.Partitions {
			request.Topics[name] = append(request.Topics[name], kafkago.TimeOffsetOf(p.ID, since))
		}
	}
	answer, err := client.ListOffsets(ctx, request)
	if err != nil {
		return nil, Wrap(err)
	}
	found := map[string]bool{}
	var errs []error
	for name, partitions := range answer.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				errs = append(errs, Wrap(fmt.Errorf("topic %s: %w", name, p.Error)))
			}
			for offset := range p.Offsets {
				found[name] = found[name] || offset >= 0
			}
		}
	}
	maps.DeleteFunc(found, func(_ string, has bool) bool { return !has })
	return slices.Sorted(maps.Keys(found)), errors.Join(errs...)
}
