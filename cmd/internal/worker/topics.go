package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/schemas"
)

// Topic gives the topic of an event of the contract.
func (o *Options) Topic(contract string) string {
	if t, ok := o.Topics[contract]; ok {
		return t
	}
	return contract
}

// AllTopics lists every topic that is read or written, in a fixed order.
func (o *Options) AllTopics() []string {
	var topics []string
	for _, name := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		topics = append(topics, o.Topic(name))
	}
	return topics
}

// Topics asks the brokers for the partitions of topics; 0 stands for one that
// does not exist. What may pass by itself (a broker that is starting) is tried
// again until ctx ends.
func Topics(ctx context.Context, conn *kafkaconn.Conn, topics []string) (map[string]int, error) {
	transport := conn.Transport(topics...)
	defer transport.CloseIdleConnections()
	client := conn.Client(transport)
	for {
		found, err := topicsOnce(ctx, client, topics)
		if err == nil {
			return found, nil
		}
		switch kafkaconn.ClassOf(err) {
		case kafkaconn.Authentication, kafkaconn.Authorization, kafkaconn.TLSFault:
			return nil, kafkaconn.Explain(err)
		}
		select {
		case <-ctx.Done():
			return nil, kafkaconn.Explain(err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func topicsOnce(ctx context.Context, client *kafka.Client, topics []string) (map[string]int, error) {
	answer, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, t := range topics {
		found[t] = 0
	}
	for _, t := range answer.Topics {
		switch {
		case errors.Is(t.Error, kafka.UnknownTopicOrPartition):
		case t.Error != nil:
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		default:
			found[t.Name] = len(t.Partitions)
		}
	}
	return found, nil
}

// checkTopics fails when a topic is missing. One missing input would leave all
// partitions unassigned, one missing result would hold up its events: better to
// hear of it before anything runs.
func checkTopics(ctx context.Context, conn *kafkaconn.Conn, secure bool, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	found, err := Topics(ctx, conn, topics)
	if err != nil {
		hint := ""
		if secure && kafkaconn.ClassOf(err) == kafkaconn.Timeout {
			hint = "; with --kafka-tls their port must be one that speaks TLS"
		}
		return fmt.Errorf("%w; brokers: %s%s", err, strings.Join(conn.Brokers(), ","), hint)
	}
	var missing []string
	for _, t := range topics {
		if found[t] == 0 {
			missing = append(missing, t)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("kafka has no topic %s: create it with `invoicebox-worker topics create`, or name another with --topic", strings.Join(missing, ", "))
	}
	return nil
}

// TopicPlan is how topics are created.
type TopicPlan struct {
	Partitions  int
	Replication int // 0: the lesser of 3 and the number of brokers
	Retention   time.Duration
	DryRun      bool // create nothing
}

// CreateTopics creates what is not there and leaves the rest alone. It returns
// the partitions of the topics that existed, and 0 for those that it created.
func CreateTopics(ctx context.Context, conn *kafkaconn.Conn, names []string, plan TopicPlan) (map[string]int, error) {
	existing, err := Topics(ctx, conn, names)
	if err != nil || plan.DryRun {
		return existing, err
	}
	transport := conn.Transport()
	defer transport.CloseIdleConnections()
	client := conn.Client(transport)
	if plan.Replication == 0 {
		answer, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: names[:1]})
		if err != nil {
			return nil, kafkaconn.Explain(err)
		}
		plan.Replication = min(3, max(1, len(answer.Brokers)))
	}
	entries := []kafka.ConfigEntry{
		{ConfigName: "cleanup.policy", ConfigValue: "delete"},
		{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(plan.Retention.Milliseconds(), 10)},
	}
	if plan.Replication >= 3 {
		// With acks from all replicas, two must have a result before it counts.
		entries = append(entries, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"})
	}
	request := &kafka.CreateTopicsRequest{}
	for _, name := range names {
		if existing[name] == 0 {
			request.Topics = append(request.Topics, kafka.TopicConfig{
				Topic: name, NumPartitions: plan.Partitions, ReplicationFactor: plan.Replication, ConfigEntries: entries,
			})
		}
	}
	if len(request.Topics) == 0 {
		return existing, nil
	}
	answer, err := client.CreateTopics(ctx, request)
	if err != nil {
		return nil, kafkaconn.Explain(err)
	}
	var errs []error
	for _, t := range request.Topics {
		if err := answer.Errors[t.Topic]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			errs = append(errs, fmt.Errorf("topic %s was not created: %w", t.Topic, kafkaconn.Explain(err)))
		}
	}
	return existing, errors.Join(errs...)
}
