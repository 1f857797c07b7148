package worker

import (
	"context"
	"fmt"
	"strings"

	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/producer"
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
	for _, spec := range producer.ContractTopics(o.Topics, 0, 0, 0) {
		topics = append(topics, spec.Name)
	}
	return topics
}

// checkTopics fails when a topic is missing. One missing input would leave all
// partitions unassigned, one missing result would hold up its events: better to
// hear of it before anything runs.
func checkTopics(ctx context.Context, conn *kafkaconn.Conn, secure bool, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	states, err := producer.LookAtTopics(ctx, conn, topics...)
	if err != nil {
		hint := ""
		if secure && kafkaconn.ClassOf(err) == kafkaconn.Timeout {
			hint = "; with --kafka-tls their port must be one that speaks TLS"
		}
		return fmt.Errorf("%w; brokers: %s%s", err, strings.Join(conn.Brokers(), ","), hint)
	}
	var missing []string
	for _, t := range states {
		if t.Partitions == 0 {
			missing = append(missing, t.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("kafka has no topic %s: create it with `invoicebox-worker topics create`, or name another with --topic", strings.Join(missing, ", "))
	}
	return nil
}
