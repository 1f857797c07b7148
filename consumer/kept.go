package consumer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
)

// The settings of a topic that say how long its records stay.
const (
	settingCleanup   = "cleanup.policy"
	settingRetention = "retention.ms"
	settingSegment   = "segment.ms"
)

// retentionMargin is for what comes on top: brokers look for old segments every few
// minutes, and clocks differ.
const retentionMargin = time.Hour

// TopicRetention tells for how long a record can be read from the topics at the most, as
// their settings are now; negative is for ever. Records go by whole segments, so
// it is the topic's retention and the age of a segment. It needs the right to
// describe the topics' configuration; the error wraps ErrMissingTopic, ErrDenied or what
// the library says.
func TopicRetention(ctx context.Context, conn *kafka.Cluster, topics ...string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	transport := conn.Transport(topics...)
	defer transport.CloseIdleConnections()
	request := &kafkago.DescribeConfigsRequest{}
	for _, t := range topics {
		request.Resources = append(request.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: t, ConfigNames: []string{settingCleanup, settingRetention, settingSegment},
		})
	}
	answer, err := conn.Client(transport).DescribeConfigs(ctx, request)
	if err != nil {
		return 0, wrapError(err)
	}
	longest := time.Duration(0)
	for _, topic := range topics {
		i := slices.IndexFunc(answer.Resources, func(r kafkago.DescribeConfigResponseResource) bool { return r.ResourceName == topic })
		if i < 0 {
			return 0, fmt.Errorf("consumer: the broker says nothing of topic %s", topic)
		}
		if err := answer.Resources[i].Error; err != nil {
			return 0, wrapError(fmt.Errorf("topic %s: %w", topic, err))
		}
		settings := map[string]string{}
		for _, e := range answer.Resources[i].ConfigEntries {
			settings[e.ConfigName] = e.ConfigValue
		}
		kept, err := retentionOf(settings)
		switch {
		case err != nil:
			return 0, fmt.Errorf("consumer: topic %s: %w", topic, err)
		case kept < 0:
			return -1, nil
		}
		longest = max(longest, kept)
	}
	return longest, nil
}

// retentionOf reads a topic's settings.
func retentionOf(settings map[string]string) (time.Duration, error) {
	if policy := settings[settingCleanup]; !slices.Contains(strings.Split(strings.ReplaceAll(policy, " ", ""), ","), "delete") {
		return -1, nil // compacted: the last record of each key stays
	}
	var kept time.Duration
	for _, name := range []string{settingRetention, settingSegment} {
		ms, err := strconv.ParseInt(settings[name], 10, 64)
		switch {
		case err != nil:
			return 0, fmt.Errorf("its setting %s is not known", name)
		case ms < 0, ms > (1<<62)/int64(time.Millisecond):
			return -1, nil
		}
		kept += time.Duration(ms) * time.Millisecond
	}
	if kept < 0 {
		return -1, nil
	}
	return kept + retentionMargin, nil
}
