package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// fetchBegins notes that the reader waits for the broker.
func (p *partition) fetchBegins() (context.Context, *kafka.Transport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithCancel(p.g.soft)
	p.cancel = cancel
	if !p.fetching {
		p.fetching, p.progress = true, time.Now()
	}
	return ctx, p.transport
}

// fetchEnds notes what a fetch gave. An empty one is no progress, and no
// trouble either while there is nothing to read. A broker that says what is
// wrong is not silent: making connections anew would not help.
func (p *partition) fetchEnds(f fetched, err error) {
	_, told := errors.AsType[kafka.Error](err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel()
	if told || f.stream != nil {
		p.fetching, p.rebuilt = false, false
	}
}

// waiting tells since when the reader has waited for a record, and at which
// position; ok is false while it works on what it has.
func (p *partition) waiting() (position int64, since time.Time, rebuilt, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown, p.progress, p.rebuilt, p.fetching
}

// idle notes that there was nothing to fetch.
func (p *partition) idle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress, p.rebuilt, p.suspicion = time.Now(), false, time.Time{}
}

// suspected tells whether the partition has held records behind position, and
// given none, for so long.
func (p *partition) suspected(position int64, limit time.Duration) bool {
	if p.suspicion.IsZero() || p.suspect != position {
		p.suspect, p.suspicion = position, time.Now()
	}
	return time.Since(p.suspicion) >= limit
}

// rebuild gives the reader connections of its own, made anew.
func (p *partition) rebuild() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.transport != p.g.c.transport {
		p.transport.CloseIdleConnections()
	}
	p.transport = p.g.c.lines.Transport(p.g.c.config.Kafka, p.topic)
	p.rebuilt, p.progress = true, time.Now()
	p.cancel()
}

// close gives up what the partition holds.
func (p *partition) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.transport != p.g.c.transport {
		p.transport.CloseIdleConnections()
	}
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
				g.fail(fmt.Errorf("%w (%s: position %d, end %d)", ErrStuck, p.place, position, end))
				return
			default:
				p.log.Error("the partition has records and still gives none; rejoining the group", "position", position, "end", end)
				g.end()
				return
			}
		}
	}
}

// stableEnd asks, on connections of its own, where the records end that may be
// read now.
func (g *generation) stableEnd(p place) (int64, error) {
	transport := g.c.lines.Transport(g.c.config.Kafka, p.topic)
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(g.soft, requestTimeout)
	defer cancel()
	answer, err := g.c.config.Kafka.Client(transport).ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics:         map[string][]kafka.OffsetRequest{p.topic: {kafka.LastOffsetOf(p.partition)}},
		IsolationLevel: kafka.ReadCommitted,
	})
	if err != nil {
		return 0, err
	}
	for _, o := range answer.Topics[p.topic] {
		if o.Partition == p.partition {
			return o.LastOffset, o.Error
		}
	}
	return 0, kafka.UnknownTopicOrPartition
}
