package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// CheckGroup compares what the group has committed with the journal's positions
// and changes nothing: ErrJournalLost, ErrGroupAhead, or what keeps Kafka from
// answering until ctx ends. The offsets are read first: a worker on the same
// journal always writes the journal first.
func CheckGroup(ctx context.Context, conn *kafka.Conn, group string, topics []string, start Start, positions func(context.Context) ([]journal.Position, error)) error {
	c := &Consumer{config: Config{Group: group, Topics: topics, Kafka: conn, Start: start}}
	defer c.connect()()
	var all []place
	var committed map[place]int64
	err := persist(ctx, func() error {
		found, err := c.partitions(ctx)
		if err == nil {
			all = placesOf(found)
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
	known := make(map[place]int64, len(list))
	for _, p := range list {
		known[place{p.Topic, p.Partition}] = p.Next
	}
	places := make([]place, 0, len(committed))
	for p := range committed {
		places = append(places, p)
	}
	slices.SortFunc(places, place.compare)
	for _, p := range places {
		next, ok := known[p]
		switch {
		case !ok:
			return c.journalLost(p, committed)
		case committed[p] > next:
			return groupAhead(p, committed[p], next)
		}
	}
	begun := map[string]bool{}
	for p := range known {
		begun[p.topic] = true
	}
	unknown := slices.DeleteFunc(all, func(p place) bool { _, ok := known[p]; return ok })
	_, err = c.firstPositions(ctx, unknown, begun)
	return err
}

// committedOf lists the places of which the group has committed an offset.
func committedOf(places []place, committed map[place]int64) []place {
	var found []place
	for _, p := range places {
		if _, ok := committed[p]; ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, place.compare)
	return found
}

func (c *Consumer) journalLost(p place, committed map[place]int64) error {
	return fmt.Errorf("%w (%s: the group %s committed %d)%s", ErrJournalLost, p, c.config.Group, committed[p], c.config.LostHint)
}

// forget lets a new journal begin for a group that has committed offsets. The
// offsets are set first: after a crash the journal is still new, and forget runs
// again. A group that has members refuses them.
func (c *Consumer) forget(ctx context.Context, lost []place, fresh map[place]int64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	topics := map[string][]kafkago.OffsetCommit{}
	for _, p := range lost {
		topics[p.topic] = append(topics[p.topic], kafkago.OffsetCommit{Partition: p.partition, Offset: fresh[p]})
	}
	answer, err := c.client.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{GroupID: c.config.Group, GenerationID: -1, Topics: topics})
	if err != nil {
		return refusal(err)
	}
	for topic, partitions := range answer.Topics {
		for _, p := range partitions {
			switch {
			case errors.Is(p.Error, kafkago.UnknownMemberId), errors.Is(p.Error, kafkago.IllegalGeneration), errors.Is(p.Error, kafkago.RebalanceInProgress):
				return fmt.Errorf("%w: stop the workers of group %s before the lost journal is forgotten: %w", ErrGroupInUse, c.config.Group, p.Error)
			case p.Error != nil:
				return refusal(fmt.Errorf("partition %s/%d: %w", topic, p.Partition, p.Error))
			}
		}
	}
	if err := c.config.Forget(ctx); err != nil {
		return fmt.Errorf("consumer: forgetting the lost journal: %w", err)
	}
	c.log.Warn("the lost journal is forgotten", "group", c.config.Group)
	return nil
}

// Reach asks the leader of every partition and the group's coordinator for
// something: the addresses that brokers advertise need not be reachable where
// those of the settings are. It tries again until ctx ends.
func Reach(ctx context.Context, conn *kafka.Conn, group string, topics []string) error {
	c := &Consumer{config: Config{Group: group, Topics: topics, Kafka: conn}}
	defer c.connect()()
	return persist(ctx, func() error {
		found, err := c.partitions(ctx)
		if err != nil {
			return err
		}
		places := placesOf(found)
		if _, err := c.bounds(ctx, places); err != nil {
			return err
		}
		_, err = c.committed(ctx, places)
		return err
	})
}

// persist tries f again until it succeeds, a person has to act, or ctx ends.
// Then the error is the last one that f had before: that of a request that was
// cut short says nothing.
func persist(ctx context.Context, f func() error) error {
	var last error
	for {
		err := f()
		switch {
		case err == nil, errors.Is(err, ErrDenied), errors.Is(err, ErrMissingTopic):
			return err
		case ctx.Err() == nil:
			last = err
		case last != nil && kafka.ClassOf(err) == kafka.Timeout:
			return last
		default:
			return err
		}
		pause(ctx, 250*time.Millisecond)
	}
}

// Written reports whether one of the topics holds records, or held some that were
// deleted since. It tries until ctx ends.
func Written(ctx context.Context, conn *kafka.Conn, topics []string) (bool, error) {
	c := &Consumer{config: Config{Topics: topics, Kafka: conn}}
	defer c.connect()()
	for {
		found, err := c.partitions(ctx)
		if err == nil {
			var limits map[place]bounds
			if limits, err = c.bounds(ctx, placesOf(found)); err == nil {
				for _, at := range limits {
					if at.end > 0 {
						return true, nil
					}
				}
				return false, nil
			}
		}
		if ctx.Err() != nil || errors.Is(err, ErrDenied) || errors.Is(err, ErrMissingTopic) {
			return false, err
		}
		pause(ctx, 250*time.Millisecond)
	}
}

// Truncated reports whether records of a topic were deleted from its beginning.
func (a *Alone) Truncated(ctx context.Context, topic string) (bool, error) {
	reader := &Consumer{config: a.c.config, log: a.c.log, client: a.c.client, transport: a.c.transport, fetcher: a.c.fetcher}
	reader.config.Topics = []string{topic}
	var limits map[place]bounds
	err := a.insist(ctx, "looking at "+topic, func() error {
		found, err := reader.partitions(ctx)
		if err == nil {
			limits, err = reader.bounds(ctx, placesOf(found))
		}
		return err
	})
	for _, at := range limits {
		if at.first > 0 {
			return true, err
		}
	}
	return false, err
}
