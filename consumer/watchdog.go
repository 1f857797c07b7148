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

// stallState returns since when the reader has waited for a record, and at which
// position. ok is false while it does not wait.
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

// progressed notes that the reader has made progress.
func (p *partition) progressed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reconnected, p.lastErr = false, nil
}

// readFailed notes why nothing can be read. If the broker reported the error, a new
// connection would not help.
func (p *partition) readFailed(err error) {
	if _, reported := errors.AsType[kafkago.Error](err); reported {
		p.reader.stall.stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr = err
}

// stallError returns the error that ends Run: what cannot be read, why, and what to do.
func (p *partition) stallError(position, end int64) error {
	p.mu.Lock()
	cause := p.lastErr
	p.mu.Unlock()
	err := fmt.Errorf("%w (%s: position %d, end %d)", ErrPartitionStalled, p.topicPartition, position, end)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if errors.Is(cause, recordbatch.ErrDamaged) {
		err = fmt.Errorf("%w; move the partition's leadership to a replica with an undamaged copy, or abandon the damaged records: "+
			"`kafka-delete-records.sh` deletes all records of %s before the offset behind them", err, p.topicPartition)
	}
	return err
}

// isStalled reports whether the partition has held records above position for limit
// without returning one.
func (p *partition) isStalled(position int64, limit time.Duration) bool {
	if p.stalledSince.IsZero() || p.stalledAt != position {
		p.stalledAt, p.stalledSince = position, time.Now()
	}
	return time.Since(p.stalledSince) >= limit
}

// reconnect replaces the connection to the partition's leader.
func (p *partition) reconnect() {
	p.mu.Lock()
	p.reconnected = true
	p.mu.Unlock()
	p.reader.stall.stop()
	p.g.c.fetcher.reconnect(p.topicPartition)
}

// close removes the partition from the fetcher and the metrics.
func (p *partition) close() {
	p.g.c.fetcher.removeReader(p.topicPartition)
	p.g.c.metrics.removePartition(p.topic, p.partition)
}

// watchProgress finds partitions with records of which fetches return none. No other
// check reports that as an error. First it replaces the connection, then it ends the
// generation, and if the next generation stalls at the same position it ends Run. A
// broker that does not answer at all is an outage, which the readers wait out.
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
			// A partition that was empty for long may have got a record this moment.
			// Only one that stays at its position has stalled.
			if !p.isStalled(position, limit) {
				continue
			}
			switch {
			case !rebuilt:
				g.c.metrics.reconnects.Inc()
				p.log.Error("fetches return none of the partition's records; reconnecting", "position", position, "end", end)
				p.reconnect()
			case g.c.stalls.recordStall(p.topicPartition, position):
				g.fail(p.stallError(position, end))
				return
			default:
				p.log.Error("fetches still return none of the partition's records; rejoining the group", "position", position, "end", end)
				g.end()
				return
			}
		}
	}
}

// lastStableOffset asks for the end of the committed records.
func (g *generation) lastStableOffset(p topicPartition) (int64, error) {
	ctx, cancel := context.WithTimeout(g.fetchCtx, requestTimeout)
	defer cancel()
	ends, err := g.c.fetcher.offsets(ctx, []topicPartition{p}, endOffset, readCommitted)
	return ends[p], err
}

// A stallTimer measures how long a reader has waited for a broker that may have records
// for it. The zero value is stopped.
type stallTimer struct {
	mu            sync.Mutex
	since         time.Time // zero: stopped
	deferredSince time.Time // when it was last deferred
}

// start notes that the reader waits for the broker.
func (s *stallTimer) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

// suspend stops the timer and returns since when it ran, for resume.
func (s *stallTimer) suspend() (since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, s.since = s.since, time.Time{}
	return since
}

// resume continues a suspended timer.
func (s *stallTimer) resume(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = since
}

// stop notes that there is nothing to read, that the broker reported an error, or that
// the reader does not wait.
func (s *stallTimer) stop() { s.suspend() }

// markDeferred notes that the reader waits for something other than the broker: for its
// turn, for memory, or for a throttle time.
func (s *stallTimer) markDeferred() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.deferredSince = time.Time{}, time.Now()
}

// running returns since when the timer runs; ok is false if it is stopped.
func (s *stallTimer) running() (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, !s.since.IsZero()
}

// deferredAt returns when the reader last waited for something other than the broker.
func (s *stallTimer) deferredAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deferredSince
}
