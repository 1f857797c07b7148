package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// The settings of a topic that bound how long its records stay, and how many replicas
// an append needs.
const (
	settingCleanup   = "cleanup.policy"
	settingRetention = "retention.ms"
	settingSegment   = "segment.ms"
	settingInSync    = "min.insync.replicas"
)

// retentionMargin is added: brokers check for old segments every few minutes, and clocks
// differ.
const retentionMargin = time.Hour

// TopicRetention returns the longest time for which a record can be read from the
// topics with their present settings; negative is for ever. Brokers delete whole
// segments, so it is retention.ms plus segment.ms. The user needs the right to
// describe the configuration of the topics.
func TopicRetention(ctx context.Context, cluster *Cluster, topics ...string) (time.Duration, error) {
	all, err := topicSettings(ctx, cluster, topics, settingCleanup, settingRetention, settingSegment)
	if err != nil {
		return 0, err
	}
	var longest time.Duration
	for _, topic := range topics {
		total, err := retentionOf(all[topic])
		switch {
		case err != nil:
			return 0, fmt.Errorf("kafka: topic %s: %w", topic, err)
		case total < 0:
			return -1, nil
		}
		longest = max(longest, total)
	}
	return longest, nil
}

// topicSettings returns the named settings of each topic.
func topicSettings(ctx context.Context, cluster *Cluster, topics []string, names ...string) (map[string]map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	transport := cluster.Transport(topics...)
	defer transport.CloseIdleConnections()
	request := &kafkago.DescribeConfigsRequest{}
	for _, t := range topics {
		request.Resources = append(request.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: t, ConfigNames: names,
		})
	}
	answer, err := cluster.Client(transport).DescribeConfigs(ctx, request)
	if err != nil {
		return nil, Wrap(err)
	}
	all := map[string]map[string]string{}
	for _, topic := range topics {
		i := slices.IndexFunc(answer.Resources, func(r kafkago.DescribeConfigResponseResource) bool { return r.ResourceName == topic })
		if i < 0 {
			return nil, fmt.Errorf("kafka: the broker did not describe topic %s", topic)
		}
		if err := answer.Resources[i].Error; err != nil {
			return nil, Wrap(fmt.Errorf("topic %s: %w", topic, err))
		}
		all[topic] = map[string]string{}
		for _, e := range answer.Resources[i].ConfigEntries {
			all[topic][e.ConfigName] = e.ConfigValue
		}
	}
	return all, nil
}

// deletes reports whether the brokers delete a topic's old records. A topic that is only
// compacted keeps the last record of each key.
func deletes(settings map[string]string) bool {
	return slices.Contains(strings.Split(strings.ReplaceAll(settings[settingCleanup], " ", ""), ","), "delete")
}

// retentionOf computes the retention from the settings of a topic.
func retentionOf(settings map[string]string) (time.Duration, error) {
	if !deletes(settings) {
		return -1, nil // compacted: the last record of each key is retained
	}
	var total time.Duration
	for _, name := range []string{settingRetention, settingSegment} {
		ms, err := strconv.ParseInt(settings[name], 10, 64)
		switch {
		case err != nil:
			return 0, fmt.Errorf("setting %s is missing or not a number", name)
		case ms < 0, ms > (1<<62)/int64(time.Millisecond):
			return -1, nil
		}
		total += time.Duration(ms) * time.Millisecond
	}
	if total < 0 {
		return -1, nil
	}
	return total + retentionMargin, nil
}
