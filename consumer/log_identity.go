package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
)

// journalMark is the journal's form of a mark; nil if no batch was read.
func (m batchMark) journalMark() *journal.BatchMark {
	if m == (batchMark{}) {
		return nil
	}
	return &journal.BatchMark{Last: m.last, Epoch: m.epoch, CRC: m.crc}
}

// matches compares a batch at or above behind.Last with the one that was read there.
// Compaction removes batches, and records of a batch, which changes its checksum;
// offsets and leader epochs stay.
func (m batchMark) matches(behind *journal.BatchMark) bool {
	sameEpoch := m.epoch < 0 || behind.Epoch < 0 || m.epoch == behind.Epoch
	switch {
	case m.base > behind.Last:
		return m.epoch < 0 || m.epoch >= behind.Epoch
	case m.last != behind.Last:
		return false
	case m.crc == behind.CRC:
		return true
	}
	return sameEpoch && m.compacted
}

// sameLog checks that a partition still holds the batch before the journal's position:
// an offset does not identify a record. A log that lost its end (a power cut, an
// unclean leader election) and was filled again has other batches there, and so has a
// topic that was created again. Then the error is ErrTopicRecreated. A batch below
// first was deleted by retention and cannot be compared.
func (c *Consumer) sameLog(ctx context.Context, p topicPartition, behind *journal.BatchMark, first int64) error {
	if behind == nil || behind.Last < first {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := c.fetcher.batchAt(ctx, p, behind.Last)
	switch {
	case errors.Is(err, kafkago.OffsetOutOfRange):
		limits, err := c.logBounds(ctx, []topicPartition{p})
		if err != nil {
			return err
		}
		if behind.Last < limits[p].start {
			return nil
		}
		return differentLog(p, behind, "the partition ends before it")
	case errors.Is(err, errNoBatch):
		return differentLog(p, behind, "the partition ends before it")
	case err != nil:
		return wrapError(err)
	case !m.matches(behind):
		return differentLog(p, behind, fmt.Sprintf("the partition has a batch of leader epoch %d up to offset %d there", m.epoch, m.last))
	}
	return nil
}

func differentLog(p topicPartition, behind *journal.BatchMark, now string) error {
	return fmt.Errorf("%w (%s: the journal has read the batch of leader epoch %d up to offset %d; %s)", ErrTopicRecreated, p, behind.Epoch, behind.Last, now)
}

// sameLogs checks all partitions at once and returns the first error. Partitions in
// compared are skipped: a broker that throttles answers only some of them in time.
func (c *Consumer) sameLogs(ctx context.Context, partitions []topicPartition, behind map[topicPartition]*journal.BatchMark, limits map[topicPartition]logBounds, compared map[topicPartition]journal.BatchMark) error {
	errs := make([]error, len(partitions))
	var asked sync.WaitGroup
	for i, p := range partitions {
		if known, ok := compared[p]; ok && behind[p] != nil && known == *behind[p] {
			continue
		}
		asked.Go(func() { errs[i] = c.sameLog(ctx, p, behind[p], limits[p].start) })
	}
	asked.Wait()
	for i, p := range partitions {
		if errs[i] == nil && behind[p] != nil {
			compared[p] = *behind[p]
		}
	}
	for _, err := range errs {
		if errors.Is(err, ErrTopicRecreated) {
			return err
		}
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// batchMarks returns the batches before the journal's positions.
func (c *Consumer) batchMarks(ctx context.Context) (map[topicPartition]*journal.BatchMark, error) {
	list, err := c.config.Inbox.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("consumer: read the positions: %w", err)
	}
	found := make(map[topicPartition]*journal.BatchMark, len(list))
	for _, p := range list {
		found[topicPartition{p.Topic, p.Partition}] = p.Behind
	}
	return found, nil
}

// verifyLog compares the log of a leader with another epoch before its records are
// ingested. It returns false if it did; then the records have to be fetched again.
func (p *partition) verifyLog(s *recordIterator, release func()) (bool, error) {
	epoch := s.batches[0].LeaderEpoch
	if p.lastBatch == nil || epoch < 0 || p.lastBatch.Epoch < 0 || epoch == p.lastBatch.Epoch || epoch == p.comparedEpoch {
		return true, nil
	}
	release() // the comparison fetches, too
	err := p.g.c.sameLog(p.g.fetchCtx, p.topicPartition, p.lastBatch, 0)
	switch {
	case err == nil:
		p.comparedEpoch, p.mismatchSince = epoch, time.Time{}
	case !errors.Is(err, ErrTopicRecreated):
	case p.mismatchSince.IsZero():
		p.mismatchSince = time.Now()
	case time.Since(p.mismatchSince) >= p.g.c.config.TopicTimeout:
		p.g.fail(err)
	}
	return false, err
}

// recreatedPartitions returns the partitions that do not hold what the journal has
// read.
func (c *Consumer) recreatedPartitions(ctx context.Context, partitions []topicPartition, limits map[topicPartition]logBounds) (map[topicPartition]bool, error) {
	behind, err := c.batchMarks(ctx)
	if err != nil {
		return nil, err
	}
	recreated := map[topicPartition]bool{}
	for _, p := range partitions {
		err := c.sameLog(ctx, p, behind[p], limits[p].start)
		if recreated[p] = errors.Is(err, ErrTopicRecreated); err != nil && !recreated[p] {
			return nil, err
		}
	}
	return recreated, nil
}
