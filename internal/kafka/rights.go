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

// A TopicRights is the user's rights on a topic.
type TopicRights struct {
	Name        string
	Known       bool // the broker reports the rights
	Read, Write bool
}

// RightsOf requests the user's rights on topics from a broker, in the order of their names
// in the call. It reads and writes no record. The error is [kafkago.UnsupportedVersion] if
// the broker is older than Kafka 2.3.
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
	of := map[string]TopicRights{}
	for _, t := range known.Topics {
		operations, said := t.TopicAuthorizedOperations, true
		if operations == math.MinInt32 {
			// A user who may not even describe a topic has no rights on it. Otherwise the
			// topic does not exist, or the broker does not report rights.
			operations, said = 0, kafkago.Error(t.ErrorCode) == kafkago.TopicAuthorizationFailed
		}
		of[t.Name] = TopicRights{t.Name, said, operations&(1<<operationRead) != 0, operations&(1<<operationWrite) != 0}
	}
	rights := make([]TopicRights, len(names))
	for i, name := range names {
		rights[i] = of[name]
		rights[i].Name = name
	}
	return rights, nil
}
