package consumer

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

const (
	leastPause = 100 * time.Millisecond
	mostPause  = 5 * time.Second
)

// A partition is read by one goroutine, in order.
type partition struct {
	place
	g       *generation
	log     *slog.Logger
	batcher batcher
	reader  reader

	// The reader's own.
	position int64              // the journal's
	offset   int64              // where the next fetch begins: position, or behind a gap
	read     mark               // the batch of the record that was read last
	reached  *journal.BatchMark // that the position lies behind or in; nil when unknown
	epoch    int32              // of a leader whose log was compared with reached
	another  time.Time          // since when the log is not the one that was read
	unstable openTransaction
	said     string
	behind   time.Time // since when the position lies behind the end

	allowed     bool      // a fetch was answered
	deniedSince time.Time // since when the broker denies reading

	mu      sync.Mutex
	shown   int64 // position, for others
	dirty   bool  // not committed
	rebuilt bool  // since the last progress
	trouble error // the last error of reading, since the last progress

	// The watchdog's own: the position that lay behind the end, and since when.
	suspect   int64
	suspicion time.Time
}

func newPartition(g *generation, p place, position int64, behind *journal.BatchMark) *partition {
	return &partition{
		reached: behind, epoch: -1,
		place: p, g: g, reader: reader{place: p}, position: position, offset: position, shown: position,
		log:     g.c.log.With("topic", p.topic, "partition", p.partition),
		batcher: batcher{config: &g.c.config, now: time.Now},
	}
}

// run reads until the generation's soft end.
func (p *partition) run() {
	wait := leastPause
	for p.g.soft.Err() == nil {
		if p.hold(); p.g.soft.Err() != nil {
			return
		}
		err := p.step()
		if err == nil {
			wait, p.said = leastPause, ""
			continue
		}
		if p.g.soft.Err() != nil {
			return
		}
		class := kafka.ClassOf(err)
		p.g.c.metrics.faults.WithLabelValues(string(class)).Inc()
		if class == kafka.MissingTopic || class == kafka.Leader {
			p.g.doubt()
		}
		// The fault of a whole broker is logged once, for all its partitions.
		if text := err.Error(); text != p.said && !isBrokerFault(err) {
			p.said = text
			p.log.Warn("reading the partition; trying again", "offset", p.offset, "err", err)
		}
		pause(p.g.soft, wait)
		wait = min(2*wait, mostPause)
	}
}

// step fetches once and takes in what came.
func (p *partition) step() error {
	f, err := p.g.c.fetcher.fetch(p.g.soft, &p.reader, p.offset)
	release := sync.OnceFunc(f.release)
	defer release()
	if errors.Is(err, kafkago.OffsetOutOfRange) {
		return p.outOfRange()
	}
	if err != nil {
		err = p.denied(refusal(err))
		p.troubled(err)
		return err
	}
	p.behind, p.deniedSince, p.allowed = time.Time{}, time.Time{}, true
	if f.stream != nil {
		if follows, err := p.follows(f.stream, release); err != nil || !follows {
			return err
		}
		if err := p.use(f); err != nil {
			p.troubled(err)
			return err
		}
	}
	p.g.c.metrics.at(p.topic, p.partition, p.position, f.highWatermark-p.position)
	p.watchTransaction(f)
	return nil
}

// use takes in what was fetched when there is memory to unpack it.
func (p *partition) use(f fetched) error {
	from := p.offset
	// A batch that cannot be read is no progress, however often it is fetched.
	before := p.reader.silence.suspend()
	if err := p.g.c.fetcher.unpack.Acquire(p.g.soft, f.memory); err != nil {
		return nil // the generation ends
	}
	defer p.g.c.fetcher.unpack.Release(f.memory)
	defer f.stream.close()
	err := p.takeIn(f.stream)
	// What the last batch kept must not wait for the next one.
	p.batcher.begin(p.topic, p.partition, p.position)
	p.g.c.fetcher.learned(&p.reader, int64(f.bytes), f.stream.unpacked)
	switch {
	case p.offset > from:
		p.progressed()
	case err != nil:
		p.reader.silence.resume(before)
	}
	return err
}

// denied ends Run when the user may not read the topic and never could. A right
// that was taken away later is waited for.
func (p *partition) denied(err error) error {
	if !errors.Is(err, ErrDenied) || p.allowed {
		return err
	}
	if p.deniedSince.IsZero() {
		p.deniedSince = time.Now()
	}
	if time.Since(p.deniedSince) >= p.g.c.config.TopicWait {
		p.g.fail(err)
	}
	return err
}

// takeIn decodes the records of a fetch and brings them to the journal, batch
// by batch. After an error, the next fetch begins where the journal stands.
func (p *partition) takeIn(s *stream) error {
	p.batcher.begin(p.topic, p.partition, p.position)
	for {
		it, err := s.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// What lies before the damaged batch is good.
			if p.batcher.batch.Next = max(p.batcher.batch.Next, s.next); p.batcher.batch.Next > p.position {
				p.batcher.batch.Behind = p.read.batchMark()
				p.ingest()
			}
			p.offset = p.position
			return err
		}
		if it.unreadable != nil {
			p.g.c.letters.unreadable(p.log, it.unreadable)
		}
		for {
			added, err := p.batcher.take(&it)
			if err != nil {
				p.offset = p.position
				return err
			}
			if added {
				break
			}
			// All below this record is settled, gaps included.
			p.batcher.batch.Next, p.batcher.batch.Behind = it.offset(), p.read.batchMark()
			if done := p.ingest(); !done {
				return nil
			}
			p.batcher.begin(p.topic, p.partition, p.position)
		}
		p.read = s.mark
		if p.g.soft.Err() != nil {
			break
		}
	}
	if p.g.soft.Err() == nil {
		p.batcher.batch.Next, p.read = max(p.batcher.batch.Next, s.next), s.mark
	}
	if p.batcher.batch.Next > p.position {
		p.batcher.batch.Behind = p.read.batchMark()
		p.ingest()
	}
	p.offset = max(p.position, p.offset)
	return nil
}

// ingest brings the batch to the journal, trying until it is there. It returns
// false when it is not: another worker has gone on, or the generation ended.
func (p *partition) ingest() bool {
	wait := leastPause
	first, said := time.Now(), ""
	for {
		began := time.Now()
		done, err := p.g.c.config.Inbox.Ingest(p.g.hard, p.batcher.batch)
		if err == nil {
			if said != "" {
				p.log.Info("the journal takes records again", "after", began.Sub(first).Round(time.Millisecond).String())
			}
			p.g.c.metrics.ingestion.Observe(time.Since(began).Seconds())
			p.g.c.metrics.count(p.topic, &p.batcher.tally, done)
			p.g.c.letters.log(p.log, &p.batcher.tally, p.batcher.reused.take(), done)
			p.moved(p.batcher.batch.Next)
			p.reached = p.batcher.batch.Behind
			return true
		}
		p.g.c.metrics.failures.Inc()
		if errors.Is(err, journal.ErrPosition) && p.reload() {
			return false
		}
		if text := err.Error(); text != said {
			said = text
			p.log.Error("the journal did not take the batch; trying again", "from", p.batcher.batch.From, "next", p.batcher.batch.Next, "err", err)
		}
		// The batch in hand was tried: that is all that stopping waits for.
		if p.g.soft.Err() != nil {
			p.offset = p.position
			return false
		}
		pause(p.g.soft, wait)
		wait = min(2*wait, mostPause)
	}
}

// reload goes on from where the journal stands, after another worker (or an
// attempt of ours whose success we did not see) has moved it. A journal that has
// gone back has lost what it had taken: that is for a recovery.
func (p *partition) reload() bool {
	known, err := p.g.c.positions(p.g.hard)
	if err != nil {
		return false
	}
	next, ok := known[p.place]
	if !ok || next == p.position {
		return false
	}
	if next < p.position {
		p.g.fail(groupAhead(p.place, p.position, next))
		return true
	}
	p.log.Warn("the journal has gone on without this reader", "from", p.position, "to", next)
	p.moved(next)
	p.reached = nil
	return true
}

// moved notes a new position of the journal.
func (p *partition) moved(next int64) {
	p.position, p.offset = next, next
	p.mu.Lock()
	p.shown, p.dirty = next, true
	p.mu.Unlock()
	p.g.changed()
}

// outOfRange finds out on which side of the log the offset lies.
func (p *partition) outOfRange() error {
	limits, err := p.g.c.bounds(p.g.soft, []place{p.place})
	if err != nil {
		return err
	}
	at := limits[p.place]
	if p.offset < at.first {
		p.log.Error("records were deleted before they were read; going on from the first that is left",
			"from", p.position, "to", at.first, "lost", at.first-p.position)
		p.batcher.begin(p.topic, p.partition, p.position)
		p.batcher.batch.Next = at.first
		lost := at.first - p.position
		if p.ingest() {
			p.g.c.metrics.lost.WithLabelValues(p.topic).Add(float64(lost))
		}
		return nil
	}
	if p.offset <= at.end {
		return nil // it has changed meanwhile
	}
	if p.behind.IsZero() {
		p.behind = time.Now()
	}
	err = topicAnew(p.place, p.position, at.end)
	// A new leader may know less than the old one for a moment.
	if time.Since(p.behind) >= p.g.c.config.TopicWait {
		p.g.fail(err)
	}
	return err
}

func (p *partition) takeDirty() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dirty := p.dirty
	p.dirty = false
	return p.shown, dirty
}

func (p *partition) markDirty() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = true
}
