package consumer

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/tracing"
)

// newBackoff returns the wait between attempts of one partition.
func newBackoff() *backoff.Exponential {
	return &backoff.Exponential{Min: 100 * time.Millisecond, Max: 5 * time.Second}
}

// A partition is read by one goroutine, in order.
type partition struct {
	topicPartition
	g       *generation
	log     *slog.Logger
	batcher batcher
	reader  reader

	// Of the partition's goroutine.
	position       int64              // the journal's
	offset         int64              // where the next fetch begins: position, or behind a gap
	read           batchMark          // the batch of the last record
	newest         time.Time          // of the last record that was ingested; zero if unknown
	lastBatch      *journal.BatchMark // before or at the position; nil if unknown
	comparedEpoch  int32              // of a leader whose log was compared with lastBatch
	mismatchSince  time.Time          // since when the log differs from the one that was read
	openTx         openTransaction
	lastLogged     string
	beyondEndSince time.Time // since when the position is above the log's end

	readOnce    bool      // a fetch has succeeded
	deniedSince time.Time // since when the broker denies reading

	stepped atomic.Pointer[time.Time] // when the partition's goroutine made its last step
	waits   atomic.Bool               // whether it waits, since its last step, for memory that other partitions use

	mu             sync.Mutex
	sharedPosition int64 // position, for other goroutines
	uncommitted    bool  // not committed
	reconnected    bool  // since the last progress
	lastErr        error // of reading, since the last progress

	// Of the watchdog: the position below the log's end, and since when.
	stalledAt    int64
	stalledSince time.Time
}

func newPartition(g *generation, p topicPartition, position int64, behind *journal.BatchMark) *partition {
	return &partition{
		lastBatch: behind, comparedEpoch: -1,
		topicPartition: p, g: g, reader: reader{topicPartition: p}, position: position, offset: position, sharedPosition: position,
		log:     g.c.log.With("topic", p.topic, "partition", p.partition),
		batcher: batcher{config: &g.c.config, now: time.Now},
	}
}

// run reads until the generation stops fetching.
func (p *partition) run() {
	wait := newBackoff()
	p.moved()
	p.g.c.readers.Store(p, nil)
	defer p.g.c.readers.Delete(p)
	for p.g.fetchCtx.Err() == nil {
		p.moved()
		if p.waitForCapacity(); p.g.fetchCtx.Err() != nil {
			return
		}
		err := p.step()
		if err == nil {
			p.lastLogged = ""
			wait.Reset()
			continue
		}
		if p.g.fetchCtx.Err() != nil {
			return
		}
		class := kafka.ClassOf(err)
		p.g.c.metrics.faults.WithLabelValues(string(class)).Inc()
		if class == kafka.MissingTopic || class == kafka.Leader {
			p.g.topicMissing()
		}
		// A brokerError was logged once for all its partitions.
		if text := err.Error(); text != p.lastLogged && !isBrokerError(err) {
			p.lastLogged = text
			p.log.Warn("reading the partition failed; retrying", "offset", p.offset, "err", err)
		}
		wait.Wait(p.g.fetchCtx)
	}
}

// moved notes that the goroutine makes a step.
func (p *partition) moved() {
	now := time.Now()
	p.stepped.Store(&now)
}

// idle returns for how long the partition has made no step. A fetch that is deferred, because
// the broker throttles or another partition is next, counts as a step.
func (p *partition) idle() time.Duration {
	return min(time.Since(*p.stepped.Load()), time.Since(p.reader.stall.deferredAt()))
}

// step fetches once and ingests what was fetched.
func (p *partition) step() error {
	f, err := p.g.c.fetcher.fetch(p.g.fetchCtx, &p.reader, p.offset)
	release := sync.OnceFunc(f.release)
	defer release()
	if errors.Is(err, kafkago.OffsetOutOfRange) {
		return p.outOfRange()
	}
	if err != nil {
		err = p.checkDenied(wrapError(err))
		p.readFailed(err)
		return err
	}
	p.beyondEndSince, p.deniedSince, p.readOnce = time.Time{}, time.Time{}, true
	if f.records != nil {
		if follows, err := p.verifyLog(f.records, release); err != nil || !follows {
			return err
		}
		if err := p.process(f); err != nil {
			p.readFailed(err)
			return err
		}
	}
	p.g.c.metrics.setPosition(p.topic, p.partition, p.position, f.highWatermark-p.position, p.newest)
	p.watchTransaction(f)
	return nil
}

// process ingests what was fetched, when there is memory to decompress it.
func (p *partition) process(f fetchResult) error {
	from := p.offset
	// Fetching an unreadable batch again is no progress.
	before := p.reader.stall.suspend()
	p.moved()
	p.waits.Store(true)
	err := p.g.c.fetcher.decompressMemory.Acquire(p.g.fetchCtx, f.memory)
	p.moved()
	p.waits.Store(false)
	if err != nil {
		return nil // the generation ends
	}
	defer p.g.c.fetcher.decompressMemory.Release(f.memory)
	defer f.records.closeBatch()
	err = p.ingestFetched(f.records)
	// Release the last batch's memory now, not with the next batch.
	p.batcher.begin(p.topic, p.partition, p.position)
	p.g.c.fetcher.observeRatio(&p.reader, int64(f.bytes), f.records.decompressed)
	switch {
	case p.offset > from:
		p.progressed()
	case err != nil:
		p.reader.stall.resume(before)
	}
	return err
}

// checkDenied ends Run if the user may not read the topic and never could. If the right
// was removed later, the partition waits for it.
func (p *partition) checkDenied(err error) error {
	if !errors.Is(err, ErrDenied) || p.readOnce {
		return err
	}
	if p.deniedSince.IsZero() {
		p.deniedSince = time.Now()
	}
	if time.Since(p.deniedSince) >= p.g.c.config.TopicTimeout {
		p.g.fail(err)
	}
	return err
}

// ingestFetched decodes the records of a fetch and ingests them, batch by batch. After
// an error the next fetch begins at the journal's position.
func (p *partition) ingestFetched(s *recordIterator) error {
	p.batcher.begin(p.topic, p.partition, p.position)
	for {
		it, err := s.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// The records before the damaged batch are good.
			if p.batcher.batch.Next = max(p.batcher.batch.Next, s.next); p.batcher.batch.Next > p.position {
				p.batcher.batch.Behind = p.read.journalMark()
				p.ingest()
			}
			p.offset = p.position
			return err
		}
		if it.unreadable != nil {
			p.g.c.deadLetters.unreadable(p.log, it.unreadable)
		}
		for {
			added, err := p.batcher.addItem(&it)
			if err != nil {
				p.offset = p.position
				return err
			}
			if added {
				break
			}
			// Everything below this record is settled, gaps included.
			p.batcher.batch.Next, p.batcher.batch.Behind = it.offset(), p.read.journalMark()
			if done := p.ingest(); !done {
				return nil
			}
			p.batcher.begin(p.topic, p.partition, p.position)
		}
		p.read = s.mark
		if p.g.fetchCtx.Err() != nil {
			break
		}
	}
	if p.g.fetchCtx.Err() == nil {
		p.batcher.batch.Next, p.read = max(p.batcher.batch.Next, s.next), s.mark
	}
	if p.batcher.batch.Next > p.position {
		p.batcher.batch.Behind = p.read.journalMark()
		p.ingest()
	}
	p.offset = max(p.position, p.offset)
	return nil
}

// ingest ingests the batch, and retries until that succeeds. It returns false if
// another worker has moved the position or the generation ended.
func (p *partition) ingest() bool {
	wait := newBackoff()
	first, lastLogged := time.Now(), ""
	for {
		p.moved()
		began := time.Now()
		done, err := p.g.c.config.Inbox.Ingest(p.g.ingestCtx, p.batcher.batch)
		if err == nil {
			if lastLogged != "" {
				p.log.Info("the journal accepts records again", "after", began.Sub(first).Round(time.Millisecond).String())
			}
			took := time.Since(began)
			first := p.g.c.config.traceIngested(p.topic, p.partition, p.batcher.batch.Events, done.Known, p.batcher.began)
			tracing.Observe(p.g.c.metrics.ingestion, took.Seconds(), first)
			p.g.c.metrics.batchRecords.Observe(float64(p.batcher.batch.Next - p.batcher.batch.From))
			p.newest = p.batcher.newest
			p.g.c.metrics.count(p.topic, &p.batcher.stats, done)
			p.g.c.deadLetters.log(p.log, &p.batcher.stats, p.batcher.reused.take(), done)
			p.setPosition(p.batcher.batch.Next)
			p.lastBatch = p.batcher.batch.Behind
			return true
		}
		p.g.c.metrics.failures.Inc()
		if errors.Is(err, journal.ErrPosition) && p.resync() {
			return false
		}
		if text := err.Error(); text != lastLogged {
			lastLogged = text
			p.log.Error("ingesting the batch failed; retrying", "from", p.batcher.batch.From, "next", p.batcher.batch.Next, "err", err)
		}
		// A shutdown waits for one attempt only.
		if p.g.fetchCtx.Err() != nil {
			p.offset = p.position
			return false
		}
		wait.Wait(p.g.fetchCtx)
	}
}

// resync continues at the journal's position, after another worker, or an attempt that
// seemed to fail, has moved it. A position that has gone back means that the journal
// lost data; then Run ends.
func (p *partition) resync() bool {
	known, err := p.g.c.positions(p.g.ingestCtx)
	if err != nil {
		return false
	}
	next, ok := known[p.topicPartition]
	if !ok || next == p.position {
		return false
	}
	if next < p.position {
		p.g.fail(offsetsAhead(p.topicPartition, p.position, next))
		return true
	}
	p.log.Warn("the journal's position was moved by another worker; resuming there", "from", p.position, "to", next)
	p.setPosition(next)
	p.lastBatch = nil
	return true
}

// setPosition notes a new position of the journal.
func (p *partition) setPosition(next int64) {
	p.position, p.offset = next, next
	p.mu.Lock()
	p.sharedPosition, p.uncommitted = next, true
	p.mu.Unlock()
	p.g.requestCommit()
}

// outOfRange handles an offset outside the log.
func (p *partition) outOfRange() error {
	limits, err := p.g.c.logBounds(p.g.fetchCtx, []topicPartition{p.topicPartition})
	if err != nil {
		return err
	}
	at := limits[p.topicPartition]
	if p.offset < at.start {
		p.log.Error("records were deleted before they were read; resuming at the first that is left",
			"from", p.position, "to", at.start, "lost", at.start-p.position)
		p.batcher.begin(p.topic, p.partition, p.position)
		p.batcher.batch.Next = at.start
		lost := at.start - p.position
		if p.ingest() {
			p.g.c.metrics.lost.WithLabelValues(p.topic).Add(float64(lost))
		}
		return nil
	}
	if p.offset <= at.end {
		return nil // the log has changed meanwhile
	}
	if p.beyondEndSince.IsZero() {
		p.beyondEndSince = time.Now()
	}
	err = topicRecreated(p.topicPartition, p.position, at.end)
	// A new leader may know less than the old one for a moment.
	if time.Since(p.beyondEndSince) >= p.g.c.config.TopicTimeout {
		p.g.fail(err)
	}
	return err
}

func (p *partition) takeUncommitted() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dirty := p.uncommitted
	p.uncommitted = false
	return p.sharedPosition, dirty
}

func (p *partition) markUncommitted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncommitted = true
}

// transactionWait is how long a transaction may delay records before that is logged. By
// default a broker ends the transactions of dead producers after a minute, at the
// latest after 15 minutes.
const transactionWait = time.Minute

// An openTransaction is a last stable offset below the high watermark.
type openTransaction struct {
	offset int64 // the last stable offset
	since  time.Time
	logged bool
}

// watchTransaction notes whether an open transaction delays the next record, and logs
// it when that lasts.
func (p *partition) watchTransaction(f fetchResult) {
	held := max(f.highWatermark-f.lastStable, 0)
	p.g.c.metrics.setUnstable(p.topic, p.partition, held)
	if held == 0 || p.offset < f.lastStable {
		if p.openTx.logged {
			p.log.Info("the open transaction has ended; resumed reading")
		}
		p.openTx = openTransaction{}
		return
	}
	if p.openTx.since.IsZero() || p.openTx.offset != f.lastStable {
		p.openTx = openTransaction{offset: f.lastStable, since: time.Now()}
	}
	if lasted := time.Since(p.openTx.since); lasted >= transactionWait && !p.openTx.logged {
		p.openTx.logged = true
		p.log.Warn("an open transaction delays records; if its producer has ended, abort it with `kafka-transactions.sh`",
			"last_stable_offset", f.lastStable, "high_watermark", f.highWatermark, "since", p.openTx.since.UTC())
	}
}
