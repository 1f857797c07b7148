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

// CheckGroup compares the group's committed offsets with the journal's positions and
// changes nothing. It returns ErrJournalLost, ErrOffsetsAhead, or why Kafka did not
// answer until ctx ended. The offsets are read first, because a worker writes the
// journal before it commits.
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
		return fmt.Errorf("consumer: read the positions: %w", err)
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

// withCommitted returns the partitions with a committed offset.
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

// startWithoutJournal lets a new journal start in a group with committed offsets. The
// offsets are reset first: after a crash the journal is still new, and OnJournalLost is
// called again. A group with members refuses the reset.
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
				return fmt.Errorf("%w: stop the workers of group %s before a new journal replaces the lost one: %w", ErrGroupInUse, c.config.Group, p.Error)
			case p.Error != nil:
				return wrapError(fmt.Errorf("partition %s/%d: %w", topic, p.Partition, p.Error))
			}
		}
	}
	if err := c.config.OnJournalLost(ctx); err != nil {
		return fmt.Errorf("consumer: start without the lost journal: %w", err)
	}
	c.log.Warn("starting without the lost journal", "group", c.config.Group)
	return nil
}

// CheckConnectivity sends a request to the leader of every partition and to the group's
// coordinator, because advertised addresses may be unreachable where the configured
// ones are not. It retries until ctx ends.
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

// retry calls f until it succeeds, an operator has to act, or ctx ends.
func retry(ctx context.Context, f func() error) error {
	final := func(err error) bool { return errors.Is(err, ErrDenied) || errors.Is(err, ErrMissingTopic) }
	return backoff.Retry(ctx, retryInterval, final, f)
}

// HasRecords reports whether one of the topics holds records, or held some that were
// deleted. It retries until ctx ends.
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

// Truncated reports whether records were deleted from the start of a topic.
func (a *ExclusiveSession) Truncated(ctx context.Context, topic string) (bool, error) {
	reader := &Consumer{config: a.consumer.config, log: a.consumer.log, client: a.consumer.client, transport: a.consumer.transport, fetcher: a.consumer.fetcher}
	reader.config.Topics = []string{topic}
	var limits map[topicPartition]logBounds
	err := a.retryFor(ctx, "reading the offsets of "+topic, func() error {
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
