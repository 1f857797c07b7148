package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/recordbatch"
	"invoicebox-worker/schemas"
)

// ErrRecordsLost says that records between the journal's position and the topic's
// present start were deleted.
var ErrRecordsLost = errors.New("consumer: records were deleted that this journal has not read")

// An OffsetRange is a range of offsets of a partition.
type OffsetRange struct {
	Topic     string
	Partition int
	From, To  int64 // To is excluded
}

// A ReplayRange is the range of a partition that a recovery reads again.
type ReplayRange struct {
	OffsetRange
	TopicRecreated bool // the topic was created again or lost records; it is read from its start
	// CommittedAhead: the group has committed more than the journal knew, or the
	// journal has never read the partition.
	CommittedAhead bool
}

func allPartitions(topics map[string][]int) []topicPartition {
	var places []topicPartition
	for topic, partitions := range topics {
		for _, p := range partitions {
			places = append(places, topicPartition{topic, p})
		}
	}
	return places
}

// An ExclusiveSession is the membership of a recovery that has the group for itself. It
// reads topics.
type ExclusiveSession struct {
	consumer   *Consumer
	generation *kafkago.Generation
	topics     map[string][]int
}

// RunExclusive joins the group under a protocol that no worker uses, and runs work. It
// waits ForeignMemberTimeout for other members to leave, else returns ErrGroupInUse.
// The context of work ends with the membership. more are further topics that work
// scans.
func (c *Consumer) RunExclusive(ctx context.Context, more []string, work func(context.Context, *ExclusiveSession) error) error {
	defer c.connect(more...)()
	topics, err := c.awaitTopics(ctx)
	if err != nil {
		return err
	}
	var incomplete atomic.Bool
	group, leave, err := c.join(assignor{"invoicebox-worker-recovery-" + uuid.NewString(), &incomplete})
	if err != nil {
		return err
	}
	defer leave()
	var joining joinErrors
	for {
		generation, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			if err := joining.handle(c, err); err != nil {
				return err
			}
		default:
			return c.runMember(ctx, &ExclusiveSession{c, generation, topics}, work)
		}
	}
}

// runMember runs work inside a generation.
func (c *Consumer) runMember(ctx context.Context, a *ExclusiveSession, work func(context.Context, *ExclusiveSession) error) error {
	done := make(chan error, 1)
	a.generation.Start(func(life context.Context) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(life, func() { cancel(fmt.Errorf("%w: another member joined", ErrGroupInUse)) })()
		for topic, partitions := range a.topics {
			if len(a.generation.Assignments[topic]) != len(partitions) {
				done <- fmt.Errorf("%w: the group has other members", ErrGroupInUse)
				return
			}
		}
		err := work(ctx, a)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		done <- err
	})
	return <-done
}

// InputRanges returns what would be replayed: from the journal's positions, or from
// Start if it has none, to the present ends. lost are records that were deleted.
func (a *ExclusiveSession) InputRanges(ctx context.Context) (spans []ReplayRange, lost []OffsetRange, err error) {
	known, err := a.consumer.positions(ctx)
	if err != nil {
		return nil, nil, err
	}
	knownTopics := map[string]bool{}
	for p := range known {
		knownTopics[p.topic] = true
	}
	partitions := allPartitions(a.topics)
	slices.SortFunc(partitions, func(x, y topicPartition) int {
		return strings.Compare(fmt.Sprintf("%s/%09d", x.topic, x.partition), fmt.Sprintf("%s/%09d", y.topic, y.partition))
	})
	var unknown []topicPartition
	for _, p := range partitions {
		if _, ok := known[p]; !ok {
			unknown = append(unknown, p)
		}
	}
	var initial map[topicPartition]int64
	var limits map[topicPartition]logBounds
	var committed map[topicPartition]int64
	var recreated map[topicPartition]bool
	err = a.retryFor(ctx, "finding the positions", func() (err error) {
		if committed, err = a.consumer.committed(ctx, partitions); err != nil {
			return err
		}
		if mode := a.consumer.config.Start.Mode; len(withCommitted(unknown, committed)) > 0 && (mode == StartUnset || mode == StartLatest) {
			return ErrRecoverStart
		}
		if initial, err = a.consumer.initialPositions(ctx, unknown, knownTopics); err != nil {
			return err
		}
		if limits, err = a.consumer.logBounds(ctx, partitions); err != nil {
			return err
		}
		recreated, err = a.consumer.recreatedPartitions(ctx, partitions, limits)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range partitions {
		r := ReplayRange{OffsetRange: OffsetRange{p.topic, p.partition, known[p], limits[p].end}}
		at, ok := known[p]
		switch {
		case !ok:
			r.From = initial[p]
		case at > limits[p].end, recreated[p]:
			r.From, r.TopicRecreated = limits[p].start, true
		case at < limits[p].start:
			lost = append(lost, OffsetRange{p.topic, p.partition, at, limits[p].start})
		}
		_, ran := committed[p]
		r.CommittedAhead = committed[p] > r.From || !ok && ran
		spans = append(spans, r)
	}
	return spans, lost, nil
}

// Replay reads the ranges into the inbox, all partitions at once, and commits the
// journal's new positions as the group's offsets.
func (a *ExclusiveSession) Replay(ctx context.Context, spans []ReplayRange) error {
	var begin []journal.Position
	for _, s := range spans {
		begin = append(begin, journal.Position{Topic: s.Topic, Partition: s.Partition, Next: s.From})
	}
	if err := a.consumer.config.Inbox.InitPositions(ctx, begin); err != nil {
		return fmt.Errorf("consumer: store the first positions: %w", err)
	}
	known, err := a.consumer.positions(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	g := &generation{c: a.consumer, fail: func(err error) { stop(err) }, end: func() {}, fetchCtx: ctx, ingestCtx: ctx, commitNeeded: make(chan struct{}, 1)}
	var readers sync.WaitGroup
	commits := map[string]map[int]int64{}
	for _, s := range spans {
		p := topicPartition{s.Topic, s.Partition}
		part := newPartition(g, p, known[p], nil)
		g.partitions = append(g.partitions, part)
		readers.Go(func() {
			if err := part.readUpTo(ctx, s.To); err != nil {
				stop(err)
			}
		})
	}
	readers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, part := range g.partitions {
		if commits[part.topic] == nil {
			commits[part.topic] = map[int]int64{}
		}
		commits[part.topic][part.partition] = part.position
	}
	return a.retryFor(ctx, "committing the offsets", func() error { return a.generation.CommitOffsets(commits) })
}

// readUpTo reads until the journal's position is at least end.
func (p *partition) readUpTo(ctx context.Context, end int64) error {
	defer p.g.c.fetcher.removeReader(p.topicPartition)
	moved, at := time.Now(), p.position
	wait := newBackoff()
	for p.position < end {
		err := p.step()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case p.position > at:
			moved, at = time.Now(), p.position
			wait.Reset()
		case time.Since(maxTime(moved, p.reader.stall.deferredAt())) > 3*p.g.c.config.StallTimeout:
			if errors.Is(err, recordbatch.ErrDamaged) {
				return p.stallError(p.position, end)
			}
			if err != nil {
				return err
			}
			return fmt.Errorf("%w: %s at offset %d", ErrPartitionStalled, p.topicPartition, p.position)
		case err != nil:
			p.log.Warn("reading the partition failed; retrying", "offset", p.offset, "err", err)
			wait.Wait(ctx)
		}
	}
	return nil
}

// Scan reads a topic from the given offsets, else from its start, to its present end,
// partition by partition, and calls f with the records of each fetch. lost are records
// that were deleted. An offset beyond the end means that the topic was created again.
func (a *ExclusiveSession) Scan(ctx context.Context, topic string, from map[int]int64, f func([]schemas.Message) error) (lost []OffsetRange, err error) {
	reader := &Consumer{config: a.consumer.config, log: a.consumer.log, client: a.consumer.client, transport: a.consumer.transport, fetcher: a.consumer.fetcher}
	reader.config.Topics = []string{topic}
	var partitions []topicPartition
	var limits map[topicPartition]logBounds
	if err := a.retryFor(ctx, "reading the offsets of "+topic, func() error {
		found, err := reader.partitions(ctx)
		if err != nil {
			return err
		}
		partitions = allPartitions(found)
		limits, err = reader.logBounds(ctx, partitions)
		return err
	}); err != nil {
		return nil, err
	}
	for _, p := range partitions {
		at, ok := from[p.partition]
		switch {
		case !ok || at > limits[p].end:
			at = limits[p].start
		case at < limits[p].start:
			lost = append(lost, OffsetRange{topic, p.partition, at, limits[p].start})
			at = limits[p].start
		}
		if err := reader.scan(ctx, p, at, limits[p].end, func(items []item) error { return f(reader.readable(p, items)) }); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// readable returns the records of items. It skips unreadable records: the worker publishes
// none that large.
func (c *Consumer) readable(p topicPartition, items []item) []schemas.Message {
	messages := make([]schemas.Message, 0, len(items))
	for i := range items {
		if u := items[i].unreadable; u != nil {
			c.log.Warn("skipped unreadable records", "topic", p.topic, "partition", p.partition, "from", u.from, "to", u.to-1, "err", u.why)
			continue
		}
		messages = append(messages, items[i].message)
	}
	return messages
}

// scan reads a partition from an offset to an end, and calls f with what each fetch holds.
func (c *Consumer) scan(ctx context.Context, p topicPartition, at, end int64, f func([]item) error) error {
	r := &reader{topicPartition: p}
	defer c.fetcher.removeReader(p)
	moved, wait := time.Now(), newBackoff()
	for at < end {
		got, err := c.fetcher.fetch(ctx, r, at)
		next := at
		var items []item
		if err == nil && got.records != nil {
			items, err = c.readItems(ctx, r, got, end)
			next = got.records.next
		}
		got.release()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if next > at {
			if err := f(items); err != nil {
				return err
			}
			at, moved = next, time.Now()
			wait.Reset()
			continue
		}
		if time.Since(maxTime(moved, r.stall.deferredAt())) > 3*c.config.StallTimeout || err != nil && errors.Is(wrapError(err), ErrDenied) {
			return errors.Join(fmt.Errorf("%w: %s at offset %d", ErrPartitionStalled, p, at), kafka.Wrap(err))
		}
		wait.Wait(ctx)
	}
	return nil
}

// readItems returns what one fetch holds before end.
func (c *Consumer) readItems(ctx context.Context, r *reader, got fetchResult, end int64) (items []item, err error) {
	if err := c.fetcher.decompressMemory.Acquire(ctx, got.memory); err != nil {
		return nil, err
	}
	defer c.fetcher.decompressMemory.Release(got.memory)
	defer func() { c.fetcher.observeRatio(r, int64(got.bytes), got.records.decompressed) }()
	defer got.records.closeBatch()
	for held := 0; held < targetDecompressed; {
		it, err := got.records.read()
		switch {
		case errors.Is(err, io.EOF):
			return items, nil
		case err != nil:
			return items, err
		case it.offset() < end:
			items = append(items, it)
			held += len(it.message.Key) + len(it.message.Value) + 64
		}
	}
	return items, nil
}

// maxTime returns the later of two instants.
func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// retryFor retries f for ConnectTimeout, unless an operator has to act.
func (a *ExclusiveSession) retryFor(ctx context.Context, op string, f func() error) error {
	began := time.Now()
	operator := func(err error) bool {
		return errors.Is(err, ErrDenied) || errors.Is(err, ErrStartRequired) || errors.Is(err, ErrRecoverStart) || errors.Is(err, ErrMissingTopic)
	}
	final := func(err error) bool { return operator(err) || time.Since(began) > a.consumer.config.ConnectTimeout }
	err := backoff.Retry(ctx, retryInterval, final, f)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case operator(err):
		return err
	}
	return fmt.Errorf("consumer: %s: %w", op, kafka.Wrap(err))
}
