package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// A generation is one generation of the consumer group: this member's partitions, and
// everything that ends with it.
type generation struct {
	c             *Consumer
	fail          func(error)
	end           func()
	fetchCtx      context.Context // ends when fetching must stop
	ingestCtx     context.Context // ends when the present batch must be abandoned
	partitions    []*partition
	compared      map[topicPartition]journal.BatchMark // batches that were found in the logs
	commitNeeded  chan struct{}
	topicMissingC chan struct{} // a broker did not know a topic
	commit        func(map[string]map[int]int64) error
}

// generation runs one generation. Until it returns, the library neither rejoins the
// group nor leaves it.
func (c *Consumer) generation(run, life context.Context, g *kafkago.Generation, fail func(error)) {
	soft, end := context.WithCancel(run)
	defer end()
	defer context.AfterFunc(life, end)()
	hard, giveUp := context.WithCancel(context.WithoutCancel(run))
	defer giveUp()
	defer context.AfterFunc(soft, func() {
		finish := c.config.ShutdownTimeout
		if run.Err() == nil { // the other members wait for this one
			finish = min(finish, rebalanceTimeout)
		}
		backoff.Sleep(hard, finish)
		giveUp()
	})()
	own := &generation{c: c, fail: fail, end: end, fetchCtx: soft, ingestCtx: hard, compared: map[topicPartition]journal.BatchMark{}, commitNeeded: make(chan struct{}, 1), topicMissingC: make(chan struct{}, 1), commit: g.CommitOffsets}
	if err := own.start(g.Assignments); err != nil {
		if soft.Err() == nil {
			fail(err)
		}
		return
	}
	c.log.Info("consuming", "group", g.GroupID, "generation", g.ID, "partitions", len(own.partitions))
	if soft.Err() == nil {
		c.state.Store(stateConsuming)
	}
	own.run()
}

// start finds the position of each assigned partition, and whether it can be read from
// there. It retries until the generation ends; its error ends Run.
func (g *generation) start(assigned map[string][]kafkago.PartitionAssignment) error {
	committed := map[topicPartition]int64{}
	var partitions []topicPartition
	for topic, list := range assigned {
		for _, a := range list {
			p := topicPartition{topic, a.ID}
			partitions = append(partitions, p)
			if a.Offset >= 0 {
				committed[p] = a.Offset
			}
		}
	}
	if len(partitions) == 0 {
		return nil
	}
	var differsSince time.Time
	_, err := g.c.persist(g.fetchCtx, "find the positions", func() error { return g.alignPositions(partitions, committed) }, func(err error) error {
		switch {
		case errors.Is(err, ErrOffsetsAhead), errors.Is(err, ErrJournalLost), errors.Is(err, ErrStartRequired):
			return err
		case !errors.Is(err, ErrTopicRecreated):
			differsSince = time.Time{}
		// A new leader may know less than the old one for a moment.
		case differsSince.IsZero():
			differsSince = time.Now()
		case time.Since(differsSince) >= g.c.config.TopicTimeout:
			return err
		}
		return nil
	})
	return err
}

// alignPositions makes the partitions, each at the journal's position.
func (g *generation) alignPositions(partitions []topicPartition, committed map[topicPartition]int64) error {
	known, err := g.c.positions(g.fetchCtx)
	if err != nil {
		return err
	}
	var unknown []topicPartition
	knownTopics := map[string]bool{}
	for p := range known {
		knownTopics[p.topic] = true
	}
	for _, p := range partitions {
		if _, ok := known[p]; !ok {
			unknown = append(unknown, p)
		}
	}
	if lost := withCommitted(unknown, committed); len(lost) > 0 {
		return g.c.journalLost(lost[0], committed)
	}
	if len(unknown) > 0 {
		initial, err := g.c.initialPositions(g.fetchCtx, unknown, knownTopics)
		if err != nil {
			return err
		}
		list := make([]journal.Position, 0, len(unknown))
		for _, p := range unknown {
			list = append(list, journal.Position{Topic: p.topic, Partition: p.partition, Next: initial[p]})
		}
		if err := g.c.config.Inbox.InitPositions(g.fetchCtx, list); err != nil {
			return fmt.Errorf("consumer: store the first positions: %w", err)
		}
		if known, err = g.c.positions(g.fetchCtx); err != nil {
			return err
		}
	}
	limits, err := g.c.logBounds(g.fetchCtx, partitions)
	if err != nil {
		return err
	}
	behind, err := g.c.batchMarks(g.fetchCtx)
	if err != nil {
		return err
	}
	g.partitions = g.partitions[:0]
	for _, p := range partitions {
		next := known[p]
		if done, ok := committed[p]; ok && done > next {
			return offsetsAhead(p, done, next)
		}
		if next > limits[p].end {
			return topicRecreated(p, next, limits[p].end)
		}
		done, ok := committed[p]
		part := newPartition(g, p, next, behind[p])
		part.uncommitted = !ok || done != next
		g.partitions = append(g.partitions, part)
	}
	return g.c.sameLogs(g.fetchCtx, partitions, behind, limits, g.compared)
}

func topicRecreated(p topicPartition, position, end int64) error {
	return fmt.Errorf("%w (%s: the journal stands at %d, the partition ends at %d)", ErrTopicRecreated, p, position, end)
}

// run reads all partitions until the generation ends, then commits once more.
func (g *generation) run() {
	var readers, others sync.WaitGroup
	for _, p := range g.partitions {
		readers.Go(p.run)
	}
	others.Go(g.commitLoop)
	others.Go(g.watchTopics)
	others.Go(g.watchProgress)
	<-g.fetchCtx.Done()
	readers.Wait()
	others.Wait()
	g.finalCommit()
	for _, p := range g.partitions {
		p.close()
	}
}

// commitLoop commits the journal's positions as the group's offsets, at most once in a
// CommitInterval. It never delays a partition.
func (g *generation) commitLoop() {
	g.requestCommit()
	for {
		select {
		case <-g.fetchCtx.Done():
			return
		case <-g.commitNeeded:
		}
		if err := g.commitPositions(); err != nil {
			g.c.metrics.faults.WithLabelValues(string(kafka.ClassOf(err))).Inc()
			g.c.log.Debug("committing offsets failed; retrying", "err", kafka.Wrap(err))
			g.requestCommit()
		}
		backoff.Sleep(g.fetchCtx, g.c.config.CommitInterval)
	}
}

// requestCommit notes that a position has changed.
func (g *generation) requestCommit() {
	select {
	case g.commitNeeded <- struct{}{}:
	default:
	}
}

func (g *generation) commitPositions() error {
	offsets := map[string]map[int]int64{}
	var taken []*partition
	for _, p := range g.partitions {
		next, dirty := p.takeUncommitted()
		if !dirty {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = map[int]int64{}
		}
		offsets[p.topic][p.partition] = next
		taken = append(taken, p)
	}
	if len(taken) == 0 {
		return nil
	}
	err := g.commit(offsets)
	if err != nil {
		for _, p := range taken {
			p.markUncommitted()
		}
	}
	return err
}

// finalCommit commits the last positions. If it fails nothing is lost: the journal's
// positions count.
func (g *generation) finalCommit() {
	for range 3 {
		err := g.commitPositions()
		switch kafka.ClassOf(err) {
		case "":
			return
		case kafka.Coordinator, kafka.Timeout:
			if errors.Is(err, kafkago.IllegalGeneration) || errors.Is(err, kafkago.UnknownMemberId) || g.ingestCtx.Err() != nil {
				return
			}
		default:
			return
		}
		backoff.Sleep(g.ingestCtx, 100*time.Millisecond)
	}
}

// watchTopics ends the generation when the partitions of a topic have changed, so that
// the group assigns them again. The library's own watcher ends generations in a loop
// while a topic is missing.
func (g *generation) watchTopics() {
	before, _ := g.c.partitions(g.fetchCtx)
	missing := g.c.topicsMissing.Swap(false)
	if missing {
		g.c.state.Store(stateTopicMissing)
	}
	for {
		g.waitTopicCheck(missing)
		if g.fetchCtx.Err() != nil {
			return
		}
		now, err := g.c.partitions(g.fetchCtx)
		if errors.Is(err, ErrMissingTopic) && !missing {
			missing = true
			g.c.state.Store(stateTopicMissing)
			g.c.stateReason.Store(err.Error())
			g.c.log.Error("an input topic does not exist any more; waiting for it", "err", err)
		}
		if err != nil {
			continue
		}
		changed := before == nil || missing
		for topic := range now {
			changed = changed || len(before[topic]) != len(now[topic])
		}
		if changed {
			g.c.log.Info("the partitions of the input topics have changed; rejoining the group")
			g.end()
			return
		}
	}
}

// waitTopicCheck waits until the topics are to be checked again: soon if one is
// missing, or when a reader reports that. The metadata may be two seconds old, so one
// check may be too early; readers repeat their report.
func (g *generation) waitTopicCheck(missing bool) {
	wait := g.c.config.WatchInterval
	if missing {
		wait = min(wait, time.Second)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-g.fetchCtx.Done():
	case <-timer.C:
	case <-g.topicMissingC:
	}
}

// topicMissing notes that a broker does not know the topic of a partition.
func (g *generation) topicMissing() {
	select {
	case g.topicMissingC <- struct{}{}:
	default:
	}
}
