package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/schemas"
)

// A PreviewBatch is what a worker would store of some records of a partition in one
// transaction.
type PreviewBatch struct {
	journal.Batch
	Ignored map[schemas.IgnoreReason]int // records by reason
}

// Preview reads the input topics from the group's committed offsets to their present ends,
// and passes the batches that a worker would store. A partition without an offset begins
// where Start says. Preview does not join the group, commits nothing, and does not use the
// Inbox. Partitions are read one after the other.
func (c *Consumer) Preview(ctx context.Context, f func(PreviewBatch) error) error {
	defer c.connect()()
	topics, err := c.awaitTopics(ctx)
	if err != nil {
		return err
	}
	partitions := allPartitions(topics)
	slices.SortFunc(partitions, topicPartition.compare)
	var from map[topicPartition]int64
	var limits map[topicPartition]logBounds
	began := time.Now()
	final := func(err error) bool {
		return errors.Is(err, ErrDenied) || errors.Is(err, ErrStartRequired) || time.Since(began) > c.config.ConnectTimeout
	}
	if err := backoff.Retry(ctx, retryInterval, final, func() error {
		committed, err := c.committed(ctx, partitions)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		var unknown []topicPartition
		for _, p := range partitions {
			if _, ok := committed[p]; ok {
				known[p.topic] = true
			} else {
				unknown = append(unknown, p)
			}
		}
		if from, err = c.initialPositions(ctx, unknown, known); err != nil {
			return err
		}
		if limits, err = c.logBounds(ctx, partitions); err != nil {
			return err
		}
		if from == nil {
			from = make(map[topicPartition]int64, len(committed))
		}
		for p, at := range committed {
			from[p] = max(at, limits[p].start)
		}
		return nil
	}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, ErrStartRequired) {
			return err
		}
		return fmt.Errorf("consumer: find the offsets: %w", kafka.Wrap(err))
	}
	for _, p := range partitions {
		if err := c.previewPartition(ctx, p, from[p], limits[p].end, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *Consumer) previewPartition(ctx context.Context, p topicPartition, at, end int64, f func(PreviewBatch) error) error {
	b := batcher{config: &c.config, now: time.Now}
	b.begin(p.topic, p.partition, at)
	flush := func() error {
		err := f(PreviewBatch{b.batch, b.stats.ignored})
		b.begin(p.topic, p.partition, b.batch.Next)
		return err
	}
	return c.scan(ctx, p, at, end, func(items []item) error {
		for i := range items {
			for {
				added, err := b.addItem(&items[i])
				if err != nil {
					return err
				}
				if added {
					break
				}
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return flush()
	})
}
