package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/recordbatch"
)

// waiting tells since when the reader has waited for a record that the broker
// owes it, and at which position; ok is false while it does not.
func (p *partition) waiting() (position int64, since time.Time, rebuilt, ok bool) {
	since, ok = p.reader.silence.lasts()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown, since, p.rebuilt, ok
}

// idle notes that there was nothing to fetch.
func (p *partition) idle() {
	p.reader.silence.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rebuilt, p.suspicion = false, time.Time{}
}

// progressed notes that the reader has gone on.
func (p *partition) progressed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rebuilt, p.trouble = false, nil
}

// troubled notes why nothing can be read. A broker that says what is wrong is
// not silent: making the connection anew would not help.
func (p *partition) troubled(err error) {
	if _, told := errors.AsType[kafkago.Error](err); told {
		p.reader.silence.end()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = err
}

// stuck is the error that ends Run: what cannot be read, why, and what to do.
func (p *partition) stuck(position, end int64) error {
	p.mu.Lock()
	trouble := p.trouble
	p.mu.Unlock()
	err := fmt.Errorf("%w (%s: position %d, end %d)", ErrStuck, p.place, position, end)
	if trouble != nil {
		err = fmt.Errorf("%w: %w", err, trouble)
	}
	if errors.Is(trouble, recordbatch.ErrDamaged) {
		err = fmt.Errorf("%w; move the partition's leadership to a replica whose copy is whole, or give the damaged records up: "+
			"`kafka-delete-records.sh` deletes all records of %s before the offset behind them", err, p.place)
	}
	return err
}

// suspected tells whether the partition has held records behind position, and
// given none, for so long.
func (p *partition) suspected(position int64, limit time.Duration) bool {
	if p.suspicion.IsZero() || p.suspect != position {
		p.suspect, p.suspicion = position, time.Now()
	}
	return time.Since(p.suspicion) >= limit
}

// rebuild makes the connection to the partition's leader anew.
func (p *partition) rebuild() {
	p.mu.Lock()
	p.rebuilt = true
	p.mu.Unlock()
	p.reader.silence.end()
	p.g.c.fetcher.rebuild(p.place)
}

// close gives up what the partition holds.
func (p *partition) close() {
	p.g.c.fetcher.forget(p.place)
	p.g.c.metrics.gone(p.topic, p.partition)
}

// watchProgress finds readers that get nothing although the partition holds
// records: nothing else would, because a silent reader is no error. First the
// reader's connections are made anew, then the generation is ended, and when
// the same position is stuck in the next one, too, Run ends. A broker that
// cannot be asked is an outage, which the readers wait out.
func (g *generation) watchProgress() {
	limit := g.c.config.StuckAfter
	for {
		pause(g.soft, limit/4)
		if g.soft.Err() != nil {
			return
		}
		for _, p := range g.partitions {
			position, since, rebuilt, ok := p.waiting()
			if !ok || time.Since(since) < limit {
				continue
			}
			end, err := g.stableEnd(p.place)
			if err != nil || end <= position {
				p.idle()
				continue
			}
			// A partition that had nothing for long may hold a record that came
			// this moment: only one that stays where it is gives none.
			if !p.suspected(position, limit) {
				continue
			}
			switch {
			case !rebuilt:
				g.c.metrics.rebuilds.Inc()
				p.log.Error("the partition has records and gives none; making its connections anew", "position", position, "end", end)
				p.rebuild()
			case g.c.stuck.again(p.place, position):
				g.fail(p.stuck(position, end))
				return
			default:
				p.log.Error("the partition has records and still gives none; rejoining the group", "position", position, "end", end)
				g.end()
				return
			}
		}
	}
}

// stableEnd asks where the records end that may be read now.
func (g *generation) stableEnd(p place) (int64, error) {
	ctx, cancel := context.WithTimeout(g.soft, requestTimeout)
	defer cancel()
	ends, err := g.c.fetcher.offsets(ctx, []place{p}, endOffset, readCommitted)
	return ends[p], err
}
