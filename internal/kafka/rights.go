package kafka

import (
	"context"
	"errors"
	"math"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// Operations on topics, as a broker numbers them.
const (
	operationRead  = 3
	operationWrite = 4
)

// A TopicRights is what the user may do with a topic.
type TopicRights struct {
	Name        string
	Read, Write bool
}

// RightsOf asks a broker what the user may do with topics, in the order of their names in
// the call. Nothing is read or written. The error is [kafkago.UnsupportedVersion] if the
// broker is older than Kafka 2.3.
func RightsOf(ctx context.Context, cluster *Cluster, names ...string) ([]TopicRights, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var errs []error
	for _, address := range cluster.Brokers() {
		rights, err := rightsAt(ctx, cluster, address, names)
		if err == nil || errors.Is(err, kafkago.UnsupportedVersion) {
			return rights, err
		}
		errs = append(errs, cluster.explainUnreachable(err, time.Now()))
	}
	return nil, Wrap(errors.Join(errs...))
}

func rightsAt(ctx context.Context, cluster *Cluster, address string, names []string) ([]TopicRights, error) {
	s, err := cluster.Open(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	answer, err := s.RoundTrip(ctx, &metadata.Request{TopicNames: names, IncludeTopicAuthorizedOperations: true}, 8, 8)
	if err != nil {
		return nil, err
	}
	known, ok := answer.(*metadata.Response)
	if !ok {
		return nil, errors.New("kafka: not a Metadata response")
	}
	of := map[string]int32{}
	for _, t := range known.Topics {
		if t.TopicAuthorizedOperations == math.MinInt32 {
			continue // it may not be described, and nothing more is known
		}
		of[t.Name] = t.TopicAuthorizedOperations
	}
	rights := make([]TopicRights, len(names))
	for i, name := range names {
		rights[i] = TopicRights{name, of[name]&(1<<operationRead) != 0, of[name]&(1<<operationWrite) != 0}
	}
	return rights, nil
}
