package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// AllTopics lists the topics of all events of the contract, in a fixed order.
func (o *Options) AllTopics() []string {
	return o.topicsOf(slices.Concat(schemas.InputTypes(), schemas.OutputTypes()))
}

// UsedTopics lists the topics that the service reads or writes. The one of reminders is
// needed only if there are any.
func (o *Options) UsedTopics() []string {
	results := schemas.OutputTypes()
	if len(o.RemindAfter) == 0 {
		results = slices.DeleteFunc(results, func(t string) bool { return t == schemas.TypeUnanswered })
	}
	return o.topicsOf(slices.Concat(schemas.InputTypes(), results))
}

func (o *Options) topicsOf(types []string) []string {
	topics := make([]string, len(types))
	for i, t := range types {
		topics[i] = o.Topic(t)
	}
	return topics
}

// existingResults lists the types of the results whose topics exist: reminders may have
// been published before they were turned off.
func existingResults(ctx context.Context, o *Options, conn *kafka.Cluster) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	types := schemas.OutputTypes()
	states, err := kafka.TopicStates(ctx, conn, o.topicsOf(types)...)
	if err != nil {
		return nil, err
	}
	existing := map[string]bool{}
	for _, t := range states {
		existing[t.Name] = t.Partitions > 0
	}
	return slices.DeleteFunc(types, func(t string) bool { return !existing[o.Topic(t)] }), nil
}

// TopicSpecs lists AllTopics as they should be created.
func (o *Options) TopicSpecs(partitions, replicas int, retention time.Duration) []kafka.TopicSpec {
	var specs []kafka.TopicSpec
	for _, name := range o.AllTopics() {
		specs = append(specs, kafka.TopicSpec{Name: name, Partitions: partitions, Replicas: replicas, Retention: retention})
	}
	return specs
}

// checkTopics returns the topics of UsedTopics that exist, and fails if one is missing. A
// missing input topic would leave all partitions unassigned; a missing result topic would
// delay its events. Only an operator's command publishes to the topic of disconnected
// shops, and earlier installations do not have it: if it is missing, that is a warning. If
// the brokers cannot be reached at the addresses that they advertise, the error says that
// too: it can be why a topic is missing.
func checkTopics(ctx context.Context, o *Options, conn *kafka.Cluster) (existing []string, warning string, err error) {
	within, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	states, err := kafka.TopicStates(within, conn, o.UsedTopics()...)
	if err != nil {
		hint := ""
		if o.Kafka.TLS != nil && kafka.ClassOf(err) == kafka.Timeout {
			hint = "; with --kafka-tls their port must be one that speaks TLS"
		}
		return nil, "", fmt.Errorf("%w; brokers: %s%s", err, strings.Join(conn.Brokers(), ","), hint)
	}
	var missing []string
	for _, t := range states {
		switch {
		case t.Partitions > 0:
			existing = append(existing, t.Name)
		case t.Name == o.Topic(schemas.TypeDisconnected):
			warning = fmt.Sprintf("kafka has no topic %s: create it with `invoicebox-worker topics create` before you disconnect or erase a shop; its events wait until the topic exists", t.Name)
		default:
			missing = append(missing, t.Name)
		}
	}
	if len(missing) == 0 {
		return existing, warning, nil
	}
	err = fmt.Errorf("kafka has no topic %s: create it with `invoicebox-worker topics create`, or name another with --topic", strings.Join(missing, ", "))
	if len(existing) > 0 {
		if unreachable := checkReach(ctx, conn, o.KafkaGroup, existing); unreachable != nil {
			err = fmt.Errorf("%w; %w", unreachable, err)
		}
	}
	return nil, "", err
}

// checkReach fails if a partition's leader or the group's coordinator cannot be reached
// at the address that the brokers advertise.
func checkReach(ctx context.Context, conn *kafka.Cluster, group string, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	if err := consumer.CheckConnectivity(ctx, conn, group, topics); err != nil {
		return fmt.Errorf("%w; brokers: %s", err, strings.Join(conn.Brokers(), ","))
	}
	return nil
}

// checkRights reports whether the user may read the inputs and write the results. It reads
// and writes no record.
func checkRights(ctx context.Context, o Options, conn *kafka.Cluster, topics []string) CheckResult {
	const name = "kafka-rights"
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	rights, err := kafka.RightsOf(ctx, conn, topics...)
	switch {
	case errors.Is(err, kafkago.UnsupportedVersion):
		return CheckResult{name, CheckWarning, "the brokers do not say what the user may do with the topics (Kafka 2.3 does): the rights to read the inputs and to write the results were not checked"}
	case err != nil:
		return CheckResult{name, CheckFailed, "the brokers did not say what the user may do with the topics: " + err.Error()}
	}
	var read, write, unknown []string
	inputs := o.inputTopics()
	for _, r := range rights {
		switch input := slices.Contains(inputs, r.Name); {
		case !r.Known:
			unknown = append(unknown, r.Name)
		case input && !r.Read:
			read = append(read, r.Name)
		case !input && !r.Write:
			write = append(write, r.Name)
		}
	}
	var missing []string
	if len(read) > 0 {
		missing = append(missing, "the user may not read "+strings.Join(read, ", ")+": grant READ on them and on the group")
	}
	if len(write) > 0 {
		missing = append(missing, "the user may not write "+strings.Join(write, ", ")+": grant WRITE on them")
	}
	if len(missing) > 0 {
		return CheckResult{name, CheckFailed, strings.Join(missing, "; ")}
	}
	if len(unknown) > 0 {
		return CheckResult{name, CheckWarning, "the brokers do not say what the user may do with " + strings.Join(unknown, ", ")}
	}
	return CheckResult{name, CheckOK, "the user may read the inputs and write the results"}
}

// checkProducing reports whether results are published with producer ids.
func checkProducing(ctx context.Context, conn *kafka.Cluster) CheckResult {
	const name = "producing"
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	err := producer.CheckProducerIDs(ctx, conn)
	switch {
	case err == nil:
		return CheckResult{name, CheckOK, "the brokers issue producer ids, so a repeated request publishes an event once"}
	case producer.IsProducerIDDenied(err):
		return CheckResult{name, CheckWarning, "the brokers issue no producer ids; results are published without them, and a lost response can publish an event twice with the same id: " + err.Error()}
	}
	return CheckResult{name, CheckFailed, "the brokers issued no producer id: " + err.Error()}
}

// plaintextWarning is for brokers without TLS that are not on loopback; "" if there are
// none.
func plaintextWarning(o *Options, conn *kafka.Cluster) string {
	addresses := conn.PlaintextBrokers()
	if addresses == "" {
		return ""
	}
	what := "an attacker on the network can read and change events, and impersonate a broker"
	if o.Kafka.SASL != nil {
		what = "SCRAM protects the password only; " + what
	}
	return "the connections to " + addresses + " are not encrypted: " + what + "; set --kafka-tls"
}

func checkPlaintext(o Options, conn *kafka.Cluster) []CheckResult {
	if warning := plaintextWarning(&o, conn); warning != "" {
		return []CheckResult{{"kafka-tls", CheckWarning, warning}}
	}
	return nil
}
