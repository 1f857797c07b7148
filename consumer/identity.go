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

// batchMark is what the journal keeps of a batch; nil when none was read.
func (m mark) batchMark() *journal.BatchMark {
	if m == (mark{}) {
		return nil
	}
	return &journal.BatchMark{Last: m.last, Epoch: m.epoch, CRC: m.crc}
}

// isSame compares the batch that lies at behind.Last, or the next one, with the
// one that was read there. Compaction takes records out of a batch, which
// changes its checksum, and whole batches; it leaves offsets and leader epochs.
func (m mark) isSame(behind *journal.BatchMark) bool {
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

// sameLog looks whether a partition still holds the batch that the journal's
// position lies behind: an offset does not identify a record. A log that lost
// its end, after a power cut or an unclean leader election, and was filled again
// has other batches there, and so has a topic that was made anew. Then the error
// is ErrTopicAnew. A batch that retention deleted, below first, says nothing.
func (c *Consumer) sameLog(ctx context.Context, p place, behind *journal.BatchMark, first int64) error {
	if behind == nil || behind.Last < first {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := c.fetcher.batchAt(ctx, p, behind.Last)
	switch {
	case errors.Is(err, kafkago.OffsetOutOfRange):
		limits, err := c.bounds(ctx, []place{p})
		if err != nil {
			return err
		}
		if behind.Last < limits[p].first {
			return nil
		}
		return otherLog(p, behind, "the partition ends before it")
	case errors.Is(err, errNoBatch):
		return otherLog(p, behind, "the partition ends before it")
	case err != nil:
		return refusal(err)
	case !m.isSame(behind):
		return otherLog(p, behind, fmt.Sprintf("the partition has a batch of leader epoch %d up to offset %d there", m.epoch, m.last))
	}
	return nil
}

func otherLog(p place, behind *journal.BatchMark, now string) error {
	return fmt.Errorf("%w (%s: the journal has read the batch of leader epoch %d up to offset %d; %s)", ErrTopicAnew, p, behind.Epoch, behind.Last, now)
}

// sameLogs looks at all partitions at once; the error is the first one's. Those
// in compared are not looked at again: a broker that throttles answers some of
// them before the time is over.
func (c *Consumer) sameLogs(ctx context.Context, places []place, behind map[place]*journal.BatchMark, limits map[place]bounds, compared map[place]journal.BatchMark) error {
	errs := make([]error, len(places))
	var asked sync.WaitGroup
	for i, p := range places {
		if known, ok := compared[p]; ok && behind[p] != nil && known == *behind[p] {
			continue
		}
		asked.Go(func() { errs[i] = c.sameLog(ctx, p, behind[p], limits[p].first) })
	}
	asked.Wait()
	for i, p := range places {
		if errs[i] == nil && behind[p] != nil {
			compared[p] = *behind[p]
		}
	}
	for _, err := range errs {
		if errors.Is(err, ErrTopicAnew) {
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

// behind reads which batches the journal's positions lie behind.
func (c *Consumer) behind(ctx context.Context) (map[place]*journal.BatchMark, error) {
	list, err := c.config.Inbox.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("consumer: reading the positions: %w", err)
	}
	found := make(map[place]*journal.BatchMark, len(list))
	for _, p := range list {
		found[place{p.Topic, p.Partition}] = p.Behind
	}
	return found, nil
}

// follows looks at what a leader of another epoch has behind the position before
// anything of it is taken in. It returns false when that was looked at, and the
// records are to be fetched again.
func (p *partition) follows(s *stream, release func()) (bool, error) {
	epoch := s.batches[0].LeaderEpoch
	if p.reached == nil || epoch < 0 || p.reached.Epoch < 0 || epoch == p.reached.Epoch || epoch == p.epoch {
		return true, nil
	}
	release() // the comparison fetches, too
	err := p.g.c.sameLog(p.g.soft, p.place, p.reached, 0)
	switch {
	case err == nil:
		p.epoch, p.another = epoch, time.Time{}
	case !errors.Is(err, ErrTopicAnew):
	case p.another.IsZero():
		p.another = time.Now()
	case time.Since(p.another) >= p.g.c.config.TopicWait:
		p.g.fail(err)
	}
	return false, err
}

// madeAnew finds the partitions that do not hold what the journal has read.
func (c *Consumer) madeAnew(ctx context.Context, places []place, limits map[place]bounds) (map[place]bool, error) {
	behind, err := c.behind(ctx)
	if err != nil {
		return nil, err
	}
	anew := map[place]bool{}
	for _, p := range places {
		err := c.sameLog(ctx, p, behind[p], limits[p].first)
		if anew[p] = errors.Is(err, ErrTopicAnew); err != nil && !anew[p] {
			return nil, err
		}
	}
	return anew, nil
}
