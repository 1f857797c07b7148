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

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/recordbatch"
	"invoicebox-worker/schemas"
)

// ErrRecordsLost says that a topic does not hold the records any more that lie between
// what the journal knows and its present beginning.
var ErrRecordsLost = errors.New("consumer: records were deleted that this journal has not read")

// A Span is a part of a partition.
type Span struct {
	Topic     string
	Partition int
	From, To  int64 // To is not in it
}

// A Reread is what a partition's recovery did.
type Reread struct {
	Span
	Anew bool // the topic was made anew, or lost records: it was read from its beginning
	// Ahead: the group has committed more than the journal knew, or the journal
	// has never read the partition.
	Ahead bool
}

func placesOf(topics map[string][]int) []place {
	var places []place
	for topic, partitions := range topics {
		for _, p := range partitions {
			places = append(places, place{topic, p})
		}
	}
	return places
}

// Alone is what a recovery has instead of Run: membership in the group as its
// only member, so that no worker can go on meanwhile, and the means to read.
type Alone struct {
	c          *Consumer
	generation *kafkago.Generation
	topics     map[string][]int
}

// Alone joins the group under a protocol that no worker speaks, and runs work.
// It waits StrangerWait for others to leave: then ErrGroupInUse. The context of
// work ends when the membership does. more are topics that work scans.
func (c *Consumer) Alone(ctx context.Context, more []string, work func(context.Context, *Alone) error) error {
	defer c.connect(more...)()
	topics, err := c.awaitTopics(ctx)
	if err != nil {
		return err
	}
	var lines kafka.Lines
	var incomplete atomic.Bool
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: c.config.Group, Brokers: c.config.Kafka.Brokers(), Topics: c.config.Topics,
		Dialer:         c.groupDialer(&lines),
		GroupBalancers: []kafkago.GroupBalancer{balancer{"invoicebox-worker-recovery-" + uuid.NewString(), &incomplete, new(holding)}},
		SessionTimeout: c.config.SessionTimeout, HeartbeatInterval: min(heartbeatEvery, c.config.SessionTimeout/5),
		RebalanceTimeout: 30 * time.Second, JoinGroupBackoff: 500 * time.Millisecond, StartOffset: kafkago.FirstOffset,
	})
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	defer func() {
		cut := time.AfterFunc(c.config.FinishTime+2*time.Second, lines.Cut)
		defer cut.Stop()
		_ = group.Close()
		lines.Cut()
	}()
	var trouble joinTrouble
	for {
		generation, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			if err := trouble.judge(c, err); err != nil {
				return err
			}
		default:
			return c.member(ctx, &Alone{c, generation, topics}, work)
		}
	}
}

// member runs work inside a generation.
func (c *Consumer) member(ctx context.Context, a *Alone, work func(context.Context, *Alone) error) error {
	done := make(chan error, 1)
	a.generation.Start(func(life context.Context) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(life, func() { cancel(fmt.Errorf("%w: another member came", ErrGroupInUse)) })()
		for topic, partitions := range a.topics {
			if len(a.generation.Assignments[topic]) != len(partitions) {
				done <- fmt.Errorf("%w: it has other members", ErrGroupInUse)
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

// Inputs says what would be read again: from the journal's positions, or where
// Start says when it has none, to the present ends. Lost are the records that
// are not there any more.
func (a *Alone) Inputs(ctx context.Context) (spans []Reread, lost []Span, err error) {
	known, err := a.c.positions(ctx)
	if err != nil {
		return nil, nil, err
	}
	begun := map[string]bool{}
	for p := range known {
		begun[p.topic] = true
	}
	places := placesOf(a.topics)
	slices.SortFunc(places, func(x, y place) int {
		return strings.Compare(fmt.Sprintf("%s/%09d", x.topic, x.partition), fmt.Sprintf("%s/%09d", y.topic, y.partition))
	})
	var unknown []place
	for _, p := range places {
		if _, ok := known[p]; !ok {
			unknown = append(unknown, p)
		}
	}
	var fresh map[place]int64
	var limits map[place]bounds
	var committed map[place]int64
	var anew map[place]bool
	err = a.insist(ctx, "finding the positions", func() (err error) {
		if committed, err = a.c.committed(ctx, places); err != nil {
			return err
		}
		if mode := a.c.config.Start.Mode; len(committedOf(unknown, committed)) > 0 && (mode == StartUnset || mode == StartLatest) {
			return ErrRecoverStart
		}
		if fresh, err = a.c.firstPositions(ctx, unknown, begun); err != nil {
			return err
		}
		if limits, err = a.c.bounds(ctx, places); err != nil {
			return err
		}
		anew, err = a.c.madeAnew(ctx, places, limits)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range places {
		r := Reread{Span: Span{p.topic, p.partition, known[p], limits[p].end}}
		at, ok := known[p]
		switch {
		case !ok:
			r.From = fresh[p]
		case at > limits[p].end, anew[p]:
			r.From, r.Anew = limits[p].first, true
		case at < limits[p].first:
			lost = append(lost, Span{p.topic, p.partition, at, limits[p].first})
		}
		_, ran := committed[p]
		r.Ahead = committed[p] > r.From || !ok && ran
		spans = append(spans, r)
	}
	return spans, lost, nil
}

// Reread brings the spans into the inbox, all partitions at once, and commits
// the group's offsets where the journal then stands.
func (a *Alone) Reread(ctx context.Context, spans []Reread) error {
	var begin []journal.Position
	for _, s := range spans {
		begin = append(begin, journal.Position{Topic: s.Topic, Partition: s.Partition, Next: s.From})
	}
	if err := a.c.config.Inbox.InitPositions(ctx, begin); err != nil {
		return fmt.Errorf("consumer: beginning: %w", err)
	}
	known, err := a.c.positions(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	g := &generation{c: a.c, fail: func(err error) { stop(err) }, end: func() {}, soft: ctx, hard: ctx, dirty: make(chan struct{}, 1)}
	var readers sync.WaitGroup
	commits := map[string]map[int]int64{}
	for _, s := range spans {
		p := place{s.Topic, s.Partition}
		part := newPartition(g, p, known[p], nil)
		g.partitions = append(g.partitions, part)
		readers.Go(func() {
			if err := part.upTo(ctx, s.To); err != nil {
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
	return a.insist(ctx, "committing the offsets", func() error { return a.generation.CommitOffsets(commits) })
}

// upTo reads until the journal stands at end or behind it.
func (p *partition) upTo(ctx context.Context, end int64) error {
	defer p.g.c.fetcher.forget(p.place)
	moved, at := time.Now(), p.position
	wait := leastPause
	for p.position < end {
		err := p.step()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case p.position > at:
			moved, at, wait = time.Now(), p.position, leastPause
		case time.Since(later(moved, p.reader.silence.waited())) > 3*p.g.c.config.StuckAfter:
			if errors.Is(err, recordbatch.ErrDamaged) {
				return p.stuck(p.position, end)
			}
			if err != nil {
				return err
			}
			return fmt.Errorf("%w: %s at offset %d", ErrStuck, p.place, p.position)
		case err != nil:
			p.log.Warn("reading the partition; trying again", "offset", p.offset, "err", err)
			pause(ctx, wait)
			wait = min(2*wait, mostPause)
		}
	}
	return nil
}

// Scan reads a topic from the given offsets, else from its beginning, to its
// present end, partition by partition, and hands over what each fetch brought.
// Lost are the records that are not there any more; offsets beyond the end mean
// that the topic was made anew.
func (a *Alone) Scan(ctx context.Context, topic string, from map[int]int64, f func([]schemas.Message) error) (lost []Span, err error) {
	reader := &Consumer{config: a.c.config, log: a.c.log, client: a.c.client, transport: a.c.transport, fetcher: a.c.fetcher}
	reader.config.Topics = []string{topic}
	var places []place
	var limits map[place]bounds
	if err := a.insist(ctx, "looking at "+topic, func() error {
		found, err := reader.partitions(ctx)
		if err != nil {
			return err
		}
		places = placesOf(found)
		limits, err = reader.bounds(ctx, places)
		return err
	}); err != nil {
		return nil, err
	}
	for _, p := range places {
		at, ok := from[p.partition]
		switch {
		case !ok || at > limits[p].end:
			at = limits[p].first
		case at < limits[p].first:
			lost = append(lost, Span{topic, p.partition, at, limits[p].first})
			at = limits[p].first
		}
		if err := reader.scan(ctx, p, at, limits[p].end, f); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

func (c *Consumer) scan(ctx context.Context, p place, at, end int64, f func([]schemas.Message) error) error {
	r := &reader{place: p}
	defer c.fetcher.forget(p)
	moved, wait := time.Now(), leastPause
	for at < end {
		got, err := c.fetcher.fetch(ctx, r, at)
		next := at
		var messages []schemas.Message
		if err == nil && got.stream != nil {
			messages, err = c.readStream(ctx, r, got, end)
			next = got.stream.next
		}
		got.release()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if next > at {
			if err := f(messages); err != nil {
				return err
			}
			at, moved, wait = next, time.Now(), leastPause
			continue
		}
		if time.Since(later(moved, r.silence.waited())) > 3*c.config.StuckAfter || err != nil && errors.Is(refusal(err), ErrDenied) {
			return errors.Join(fmt.Errorf("%w: %s at offset %d", ErrStuck, p, at), kafka.Explain(err))
		}
		pause(ctx, wait)
		wait = min(2*wait, mostPause)
	}
	return nil
}

// readStream reads the records of one fetch that lie before end. Records that
// cannot be read are left out: what this worker publishes is never so large.
func (c *Consumer) readStream(ctx context.Context, r *reader, got fetched, end int64) (messages []schemas.Message, err error) {
	if err := c.fetcher.unpack.Acquire(ctx, got.memory); err != nil {
		return nil, err
	}
	defer c.fetcher.unpack.Release(got.memory)
	defer func() { c.fetcher.learned(r, int64(got.bytes), got.stream.unpacked) }()
	defer got.stream.close()
	for held := 0; held < unpackedShare; {
		it, err := got.stream.read()
		switch {
		case errors.Is(err, io.EOF):
			return messages, nil
		case err != nil:
			return messages, err
		case it.unreadable != nil:
			c.log.Warn("records cannot be read; they are left out", "topic", r.topic, "partition", r.partition,
				"from", it.unreadable.from, "to", it.unreadable.to-1, "err", it.unreadable.why)
		case it.message.Offset < end:
			messages = append(messages, it.message)
			held += len(it.message.Key) + len(it.message.Value) + 64
		}
	}
	return messages, nil
}

// later is the later of two instants.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// insist tries again what passing faults of Kafka may stop, for ReachWait.
func (a *Alone) insist(ctx context.Context, what string, f func() error) error {
	began := time.Now()
	for {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrDenied), errors.Is(err, ErrStartRequired), errors.Is(err, ErrRecoverStart), errors.Is(err, ErrMissingTopic):
			return err
		case time.Since(began) > a.c.config.ReachWait:
			return fmt.Errorf("consumer: %s: %w", what, kafka.Explain(err))
		}
		pause(ctx, 250*time.Millisecond)
	}
}
