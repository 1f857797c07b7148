package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// A topicPartition is a partition of a topic.
type topicPartition struct {
	topic     string
	partition int
}

func (p topicPartition) String() string { return fmt.Sprintf("%s/%d", p.topic, p.partition) }

func (p topicPartition) compare(q topicPartition) int {
	return cmp.Or(cmp.Compare(p.topic, q.topic), cmp.Compare(p.partition, q.partition))
}

// logBounds are the start and end of a partition's log.
type logBounds struct{ start, end int64 }

// partitions lists the partitions of the input topics. The error wraps
// ErrMissingTopic, ErrDenied or the library's.
func (c *Consumer) partitions(ctx context.Context) (map[string][]int, error) {
	metadata, err := kafka.DescribeTopics(ctx, c.client, c.config.Topics...)
	if err != nil {
		return nil, wrapError(err)
	}
	if c.fetcher != nil {
		c.fetcher.updateLeaders(metadata)
	}
	if err := metadata.Err(); err != nil {
		return nil, wrapError(err)
	}
	found := map[string][]int{}
	var missing []string
	for _, t := range c.config.Topics {
		for _, p := range metadata.Topics[t].Partitions {
			found[t] = append(found[t], p.ID)
		}
		if len(found[t]) == 0 {
			missing = append(missing, t)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: %s (create it with `topics create`, or give the user the right to describe it)", ErrMissingTopic, strings.Join(missing, ", "))
	}
	return found, nil
}

// wrapError explains an error, and marks one that only an operator can remove.
func wrapError(err error) error {
	err = kafka.Wrap(err)
	if kafka.IsDenied(err) {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

// awaitTopics waits until every input topic exists. Before the consumer has joined its
// group for the first time the wait is bounded.
func (c *Consumer) awaitTopics(ctx context.Context) (found map[string][]int, err error) {
	began, elapsed := time.Now(), backoff.NewElapsed(c.config.ConnectTimeout/2)
	waited, err := c.persist(ctx, "find the input topics", func() error {
		found, err = c.partitions(ctx)
		return err
	}, func(err error) error {
		total := elapsed.Failed()
		c.metrics.faults.WithLabelValues(string(errorClass(err))).Inc()
		c.state.Store(stateTopics)
		known := errors.Is(err, ErrMissingTopic) || errors.Is(err, ErrDenied)
		switch {
		case c.joinedOnce.Load():
			return nil
		case known && time.Since(began) >= c.config.TopicTimeout:
			return err
		case !known && total >= c.config.ConnectTimeout:
			return fmt.Errorf("%w: %s: %w", ErrUnreachable, strings.Join(c.config.Kafka.Brokers(), ","), err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.stateReason.Store("")
	if waited {
		c.log.Info("the input topics exist")
	}
	return found, nil
}

// persist calls f until it succeeds, final returns the error that ends Run, or ctx ends.
// Until then Ready reports the error, and the log has it when it changes. It returns
// whether f has failed before.
func (c *Consumer) persist(ctx context.Context, op string, f func() error, final func(error) error) (failed bool, err error) {
	var lastLogged string
	for {
		err := f()
		if err == nil {
			return failed, nil
		}
		if ctx.Err() != nil {
			return failed, context.Cause(ctx)
		}
		if err := final(err); err != nil {
			return failed, err
		}
		failed = true
		c.stateReason.Store(err.Error())
		if text := err.Error(); text != lastLogged {
			lastLogged = text
			c.log.Warn("waiting for Kafka or the journal; retrying", "op", op, "err", err)
		}
		backoff.Sleep(ctx, retryInterval)
	}
}

func errorClass(err error) kafka.ErrorClass {
	if errors.Is(err, ErrMissingTopic) {
		return kafka.MissingTopic
	}
	return kafka.ClassOf(err)
}

// logBounds asks for the starts and ends of the partitions.
func (c *Consumer) logBounds(ctx context.Context, partitions []topicPartition) (map[topicPartition]logBounds, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	found := make(map[topicPartition]logBounds, len(partitions))
	for _, at := range []int64{firstOffset, endOffset} {
		offsets, err := c.fetcher.offsets(ctx, partitions, at, readUncommitted)
		if err != nil {
			return nil, wrapError(err)
		}
		for p, offset := range offsets {
			b := found[p]
			if at == firstOffset {
				b.start = offset
			} else {
				b.end = offset
			}
			found[p] = b
		}
	}
	for _, p := range partitions {
		if b, ok := found[p]; !ok || b.start < 0 || b.end < b.start {
			return nil, wrapError(fmt.Errorf("partition %s: %w", p, kafkago.OffsetNotAvailable))
		}
	}
	return found, nil
}

// offsetsAt asks for the first record of a time or later. A partition without one is
// not in the result.
func (c *Consumer) offsetsAt(ctx context.Context, partitions []topicPartition, at time.Time) (map[topicPartition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	found, err := c.fetcher.offsets(ctx, partitions, at.UnixMilli(), readUncommitted)
	if err != nil {
		return nil, wrapError(err)
	}
	maps.DeleteFunc(found, func(_ topicPartition, offset int64) bool { return offset < 0 })
	return found, nil
}

// committed asks for the group's committed offsets. A partition without one is not in
// the result.
func (c *Consumer) committed(ctx context.Context, partitions []topicPartition) (map[topicPartition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	topics := map[string][]int{}
	for _, p := range partitions {
		topics[p.topic] = append(topics[p.topic], p.partition)
	}
	answer, err := c.client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: c.config.Group, Topics: topics})
	if err != nil {
		return nil, wrapError(err)
	}
	if errors.Is(answer.Error, kafkago.GroupIdNotFound) {
		return nil, nil
	}
	if answer.Error != nil {
		return nil, wrapError(answer.Error)
	}
	found := map[topicPartition]int64{}
	for topic, partitions := range answer.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return nil, wrapError(fmt.Errorf("partition %s/%d: %w", topic, p.Partition, p.Error))
			}
			if p.CommittedOffset >= 0 {
				found[topicPartition{topic, p.Partition}] = p.CommittedOffset
			}
		}
	}
	return found, nil
}

// positions reads the journal's positions.
func (c *Consumer) positions(ctx context.Context) (map[topicPartition]int64, error) {
	list, err := c.config.Inbox.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("consumer: read the positions: %w", err)
	}
	found := make(map[topicPartition]int64, len(list))
	for _, p := range list {
		found[topicPartition{p.Topic, p.Partition}] = p.Next
	}
	return found, nil
}

// initPositions gives every partition a position before anything is read. A topic that
// this journal has never read begins where Start says, a new partition of another topic
// at its first record. The committed offsets are read before the positions: another
// worker on the journal may continue meanwhile, and it writes the journal first.
func (c *Consumer) initPositions(ctx context.Context, topics map[string][]int) error {
	var places []topicPartition
	for topic, partitions := range topics {
		for _, p := range partitions {
			places = append(places, topicPartition{topic, p})
		}
	}
	committed, err := c.committed(ctx, places)
	if err != nil {
		return err
	}
	known, err := c.positions(ctx)
	if err != nil {
		return err
	}
	knownTopics := map[string]bool{}
	for p := range known {
		knownTopics[p.topic] = true
	}
	var unknown []topicPartition
	for _, p := range places {
		if _, ok := known[p]; !ok {
			unknown = append(unknown, p)
		}
	}
	lost := withCommitted(unknown, committed)
	if len(lost) > 0 && c.config.OnJournalLost == nil {
		return c.journalLost(lost[0], committed)
	}
	initial, err := c.initialPositions(ctx, unknown, knownTopics)
	if err != nil {
		return err
	}
	if len(known) == 0 && len(lost) == 0 && c.config.OnFirstRun != nil {
		if err := c.config.OnFirstRun(ctx); err != nil {
			return err
		}
	}
	if len(lost) > 0 {
		if err := c.startWithoutJournal(ctx, lost, initial); err != nil {
			return err
		}
		for _, p := range lost {
			committed[p] = initial[p]
		}
	}
	var start []journal.Position
	for _, p := range places {
		next, ok := known[p]
		if !ok {
			next = initial[p]
			start = append(start, journal.Position{Topic: p.topic, Partition: p.partition, Next: next})
		}
		if done, ok := committed[p]; ok && done > next {
			return offsetsAhead(p, done, next)
		}
	}
	if len(start) == 0 {
		return nil
	}
	if err := c.config.Inbox.InitPositions(ctx, start); err != nil {
		return fmt.Errorf("consumer: store the first positions: %w", err)
	}
	for _, s := range start {
		c.log.Info("stored the first position of a partition", "topic", s.Topic, "partition", s.Partition, "offset", s.Next)
	}
	return nil
}

func (c *Consumer) initialPositions(ctx context.Context, partitions []topicPartition, knownTopics map[string]bool) (map[topicPartition]int64, error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	limits, err := c.logBounds(ctx, partitions)
	if err != nil {
		return nil, err
	}
	var holding []string
	for _, p := range partitions {
		if !knownTopics[p.topic] && limits[p].end > limits[p].start {
			holding = append(holding, p.topic)
		}
	}
	start := c.config.Start
	if start.Mode == StartUnset && len(holding) > 0 {
		slices.Sort(holding)
		return nil, fmt.Errorf("%w (%s)", ErrStartRequired, strings.Join(slices.Compact(holding), ", "))
	}
	var timed map[topicPartition]int64
	if start.Mode == StartTime {
		if timed, err = c.offsetsAt(ctx, partitions, start.Time); err != nil {
			return nil, err
		}
	}
	first := make(map[topicPartition]int64, len(partitions))
	for _, p := range partitions {
		first[p] = limits[p].start
		if knownTopics[p.topic] {
			continue
		}
		switch start.Mode {
		case StartLatest:
			first[p] = limits[p].end
		case StartTime:
			first[p] = limits[p].end
			if at, ok := timed[p]; ok {
				first[p] = at
			}
		}
	}
	return first, nil
}

func offsetsAhead(p topicPartition, committed, position int64) error {
	return fmt.Errorf("%w (%s: the group committed %d, the journal stands at %d)", ErrOffsetsAhead, p, committed, position)
}
