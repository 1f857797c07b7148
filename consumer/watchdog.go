package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/recordbatch"
)

// stallState tells since when the reader has waited for a record that the broker
// owes it, and at which position; ok is false while it does not.
func (p *partition) stallState() (position int64, since time.Time, rebuilt, ok bool) {
	since, ok = p.reader.stall.running()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sharedPosition, since, p.reconnected, ok
}

// caughtUp notes that there was nothing to fetch.
func (p *partition) caughtUp() {
	p.reader.stall.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reconnected, p.stalledSince = false, time.Time{}
}

// progressed notes that the reader has gone on.
func (p *partition) progressed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reconnected, p.lastErr = false, nil
}

// readFailed notes why nothing can be read. A broker that says what is wrong is
// not silent: making the connection anew would not help.
func (p *partition) readFailed(err error) {
	if _, told := errors.AsType[kafkago.Error](err); told {
		p.reader.stall.stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr = err
}

// stalls is the error that ends Run: what cannot be read, why, and what to do.
func (p *partition) stallError(position, end int64) error {
	p.mu.Lock()
	joining := p.lastErr
	p.mu.Unlock()
	err := fmt.Errorf("%w (%s: position %d, end %d)", ErrPartitionStalled, p.topicPartition, position, end)
	if joining != nil {
		err = fmt.Errorf("%w: %w", err, joining)
	}
	if errors.Is(joining, recordbatch.ErrDamaged) {
		err = fmt.Errorf("%w; move the partition's leadership to a replica whose copy is whole, or give the damaged records up: "+
			"`kafka-delete-records.sh` deletes all records of %s before the offset behind them", err, p.topicPartition)
	}
	return err
}

// isStalled tells whether the partition has held records behind position, and
// returned none, for so long.
func (p *partition) isStalled(position int64, limit time.Duration) bool {
	if p.stalledSince.IsZero() || p.stalledAt != position {
		p.stalledAt, p.stalledSince = position, time.Now()
	}
	return time.Since(p.stalledSince) >= limit
}

// reconnect makes the connection to the partition's leader anew.
func (p *partition) reconnect() {
	p.mu.Lock()
	p.reconnected = true
	p.mu.Unlock()
	p.reader.stall.stop()
	p.g.c.fetcher.reconnect(p.topicPartition)
}

// closeBatch gives up what the partition holds.
func (p *partition) close() {
	p.g.c.fetcher.removeReader(p.topicPartition)
	p.g.c.metrics.removePartition(p.topic, p.partition)
}

// watchProgress finds readers that get nothing although the partition holds
// records: nothing else would, because a silent reader is no error. First the
// reader's connections are made anew, then the generation is ended, and when
// the same position is stuck in the next one, too, Run ends. A broker that
// cannot be asked is an outage, which the readers wait out.
func (g *generation) watchProgress() {
	limit := g.c.config.StallTimeout
	for {
		backoff.Sleep(g.fetchCtx, limit/4)
		if g.fetchCtx.Err() != nil {
			return
		}
		for _, p := range g.partitions {
			position, since, rebuilt, ok := p.stallState()
			if !ok || time.Since(since) < limit {
				continue
			}
			end, err := g.lastStableOffset(p.topicPartition)
			if err != nil || end <= position {
				p.caughtUp()
				continue
			}
			// A partition that had nothing for long may hold a record that came
			// this moment: only one that stays where it is gives none.
			if !p.isStalled(position, limit) {
				continue
			}
			switch {
			case !rebuilt:
				g.c.metrics.reconnects.Inc()
				p.log.Error("the partition has records and gives none; making its connections anew", "position", position, "end", end)
				p.reconnect()
			case g.c.stalls.recordStall(p.topicPartition, position):
				g.fail(p.stallError(position, end))
				return
			default:
				p.log.Error("the partition has records and still gives none; rejoining the group", "position", position, "end", end)
				g.end()
				return
			}
		}
	}
}

// lastStableOffset asks where the records end that may be read now.
func (g *generation) lastStableOffset(p topicPartition) (int64, error) {
	ctx, cancel := context.WithTimeout(g.fetchCtx, requestTimeout)
	defer cancel()
	ends, err := g.c.fetcher.offsets(ctx, []topicPartition{p}, endOffset, readCommitted)
	return ends[p], err
}

// A stall is how long a broker has given a reader nothing though it was the
// reader's turn and there may be something. The zero value is none.
type stallTimer struct {
	mu            sync.Mutex
	since         time.Time // zero: none
	deferredSince time.Time // when it was last excused
}

// initPositions notes that the reader waits for the broker.
func (s *stallTimer) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

// suspend ends a silence that may be resumed, and returns since when it lasted.
func (s *stallTimer) suspend() (since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, s.since = s.since, time.Time{}
	return since
}

// resume goes on with a suspended silence.
func (s *stallTimer) resume(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = since
}

// stop notes that there is nothing to give, that the broker said what is wrong, or
// that the reader does not wait for it.
func (s *stallTimer) stop() { s.suspend() }

// markDeferred notes that the reader was not served because it has to wait: for its
// turn, for memory, or because the broker said so.
func (s *stallTimer) markDeferred() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.deferredSince = time.Time{}, time.Now()
}

// running tells since when the silence lasts; ok is false when there is none.
func (s *stallTimer) running() (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, !s.since.IsZero()
}

// deferredAt tells when the reader last had to wait for another reason than the
// broker's silence.
func (s *stallTimer) deferredAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deferredSince
}
