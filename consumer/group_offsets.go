package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// CheckGroup compares what the group has committed with the journal's positions
// and changes nothing: ErrJournalLost, ErrOffsetsAhead, or what keeps Kafka from
// answering until ctx ends. The offsets are read first: a worker on the same
// journal always writes the journal first.
func CheckGroup(ctx context.Context, conn *kafka.Cluster, group string, topics []string, start Start, positions func(context.Context) ([]journal.Position, error)) error {
	c := &Consumer{config: Config{Group: group, Topics: topics, Kafka: conn, Start: start}}
	defer c.connect()()
	var all []topicPartition
	var committed map[topicPartition]int64
	err := retry(ctx, func() error {
		found, err := c.partitions(ctx)
		if err == nil {
			all = allPartitions(found)
			committed, err = c.committed(ctx, all)
		}
		return err
	})
	if err != nil {
		return err
	}
	list, err := positions(ctx)
	if err != nil {
		return fmt.Errorf("consumer: reading the positions: %w", err)
	}
	known := make(map[topicPartition]int64, len(list))
	for _, p := range list {
		known[topicPartition{p.Topic, p.Partition}] = p.Next
	}
	partitions := make([]topicPartition, 0, len(committed))
	for p := range committed {
		partitions = append(partitions, p)
	}
	slices.SortFunc(partitions, topicPartition.compare)
	for _, p := range partitions {
		next, ok := known[p]
		switch {
		case !ok:
			return c.journalLost(p, committed)
		case committed[p] > next:
			return offsetsAhead(p, committed[p], next)
		}
	}
	knownTopics := map[string]bool{}
	for p := range known {
		knownTopics[p.topic] = true
	}
	unknown := slices.DeleteFunc(all, func(p topicPartition) bool { _, ok := known[p]; return ok })
	_, err = c.initialPositions(ctx, unknown, knownTopics)
	return err
}

// withCommitted lists the places of which the group has committed an offset.
func withCommitted(partitions []topicPartition, committed map[topicPartition]int64) []topicPartition {
	var found []topicPartition
	for _, p := range partitions {
		if _, ok := committed[p]; ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, topicPartition.compare)
	return found
}

func (c *Consumer) journalLost(p topicPartition, committed map[topicPartition]int64) error {
	return fmt.Errorf("%w (%s: the group %s committed %d)%s", ErrJournalLost, p, c.config.Group, committed[p], c.config.LostHint)
}

// startWithoutJournal lets a new journal begin for a group that has committed offsets. The
// offsets are set first: after a crash the journal is still new, and forget runs
// again. A group that has members refuses them.
func (c *Consumer) startWithoutJournal(ctx context.Context, lost []topicPartition, initial map[topicPartition]int64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	topics := map[string][]kafkago.OffsetCommit{}
	for _, p := range lost {
		topics[p.topic] = append(topics[p.topic], kafkago.OffsetCommit{Partition: p.partition, Offset: initial[p]})
	}
	answer, err := c.client.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{GroupID: c.config.Group, GenerationID: -1, Topics: topics})
	if err != nil {
		return wrapError(err)
	}
	for topic, partitions := range answer.Topics {
		for _, p := range partitions {
			switch {
			case errors.Is(p.Error, kafkago.UnknownMemberId), errors.Is(p.Error, kafkago.IllegalGeneration), errors.Is(p.Error, kafkago.RebalanceInProgress):
				return fmt.Errorf("%w: stop the workers of group %s before the lost journal is forgotten: %w", ErrGroupInUse, c.config.Group, p.Error)
			case p.Error != nil:
				return wrapError(fmt.Errorf("partition %s/%d: %w", topic, p.Partition, p.Error))
			}
		}
	}
	if err := c.config.OnJournalLost(ctx); err != nil {
		return fmt.Errorf("consumer: forgetting the lost journal: %w", err)
	}
	c.log.Warn("the lost journal is forgotten", "group", c.config.Group)
	return nil
}

// CheckConnectivity asks the leader of every partition and the group's coordinator for
// something: the addresses that brokers advertise need not be reachable where
// those of the settings are. It tries again until ctx ends.
func CheckConnectivity(ctx context.Context, conn *kafka.Cluster, group string, topics []string) error {
	c := &Consumer{config: Config{Group: group, Topics: topics, Kafka: conn}}
	defer c.connect()()
	return retry(ctx, func() error {
		found, err := c.partitions(ctx)
		if err != nil {
			return err
		}
		partitions := allPartitions(found)
		if _, err := c.logBounds(ctx, partitions); err != nil {
			return err
		}
		_, err = c.committed(ctx, partitions)
		return err
	})
}

// retry calls f until it succeeds, its error is one that only an operator can remove, or
// ctx ends.
func retry(ctx context.Context, f func() error) error {
	final := func(err error) bool { return errors.Is(err, ErrDenied) || errors.Is(err, ErrMissingTopic) }
	return backoff.Retry(ctx, retryInterval, final, f)
}

// HasRecords reports whether one of the topics holds records, or held some that were
// deleted since. It retries until ctx ends.
func HasRecords(ctx context.Context, cluster *kafka.Cluster, topics []string) (has bool, err error) {
	c := &Consumer{config: Config{Topics: topics, Kafka: cluster}}
	defer c.connect()()
	err = retry(ctx, func() error {
		found, err := c.partitions(ctx)
		if err != nil {
			return err
		}
		limits, err := c.logBounds(ctx, allPartitions(found))
		for _, at := range limits {
			has = has || at.end > 0
		}
		return err
	})
	return has, err
}

// Truncated reports whether records of a topic were deleted from its beginning.
func (a *ExclusiveSession) Truncated(ctx context.Context, topic string) (bool, error) {
	reader := &Consumer{config: a.consumer.config, log: a.consumer.log, client: a.consumer.client, transport: a.consumer.transport, fetcher: a.consumer.fetcher}
	reader.config.Topics = []string{topic}
	var limits map[topicPartition]logBounds
	err := a.retryFor(ctx, "looking at "+topic, func() error {
		found, err := reader.partitions(ctx)
		if err == nil {
			limits, err = reader.logBounds(ctx, allPartitions(found))
		}
		return err
	})
	for _, at := range limits {
		if at.start > 0 {
			return true, err
		}
	}
	return false, err
}
