package producer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// topicRefreshInterval is how often the number of partitions is updated.
const topicRefreshInterval = time.Minute

// A topic is what the relay knows of a result topic.
type topic struct {
	name         string
	partitions   []int // empty until the topic was described
	refreshing   bool  // a request is in flight
	refreshAt    time.Time
	failures     int
	missingSince time.Time
	blockedUntil time.Time // a broker rejects the topic's events; zero if open
	missing      bool      // a broker did not know it, since it was last described
}

func (t *topic) blocked() bool { return !t.blockedUntil.IsZero() }

// A topicMetadata is the response to a request for a topic's partitions.
type topicMetadata struct {
	topic      string
	partitions []int
	err        error
}

// queueOf returns the queue of a row. Keys are assigned to partitions as Java's clients
// do. Until the topic is described, its rows wait together.
func (r *Relay) queueOf(row journal.OutboxRow) *partitionQueue {
	name := r.config.topicOf(row.Type)
	t := r.topic(name)
	key := queueKey{name, unknownPartition}
	if len(t.partitions) > 0 {
		key.partition = kafkago.Murmur2Balancer{Consistent: true}.Balance(kafkago.Message{Key: row.Message.Key}, t.partitions...)
	}
	l := r.queues[key]
	if l == nil {
		if key.partition == unknownPartition {
			t.refreshAt = time.Time{}
			r.status.startWaiting(name, time.Now())
		}
		l = &partitionQueue{queueKey: key, batchLimit: r.config.BatchBytes}
		r.queues[key] = l
	}
	return l
}

// topic returns the state of a topic, and creates it if there is none.
func (r *Relay) topic(name string) *topic {
	t := r.topics[name]
	if t == nil {
		t = &topic{name: name}
		r.topics[name] = t
	}
	return t
}

// refreshTopicMetadata asks for the partitions of topics that are unknown or due.
func (r *Relay) refreshTopicMetadata(ctx context.Context, now time.Time, wait func(time.Time)) {
	for _, t := range r.topics {
		if t.refreshing {
			continue
		}
		if now.Before(t.refreshAt) {
			wait(t.refreshAt)
			continue
		}
		t.refreshing = true
		name := t.name
		r.spawn(func() any {
			partitions, err := r.partitions(ctx, name)
			return topicMetadata{name, partitions, err}
		})
	}
}

// partitions asks for the partitions of a topic. One without a leader counts: keys must
// not move while a leader is elected.
func (r *Relay) partitions(ctx context.Context, name string) ([]int, error) {
	metadata, err := kafka.DescribeTopics(ctx, r.client, name)
	if err != nil {
		return nil, err
	}
	t, exists := metadata.Topics[name]
	switch {
	case !exists:
		return nil, kafkago.UnknownTopicOrPartition
	case t.Err != nil:
		return nil, t.Err
	}
	var list []int
	for _, p := range t.Partitions {
		list = append(list, p.ID)
	}
	return list, nil
}

// onTopicMetadata adopts the response and assigns the rows that waited for it.
func (r *Relay) onTopicMetadata(s topicMetadata) {
	t := r.topics[s.topic]
	t.refreshing = false
	now := time.Now()
	t.missing = t.missing || resultOf(s.err) == missing
	if s.err != nil {
		// Nothing waits for the response: retry slowly and log nothing.
		if !r.hasFailingRows(s.topic) {
			t.refreshAt = now.Add(maxBackoff)
			return
		}
		t.refreshAt = now.Add(min(minBackoff<<min(t.failures, 10), maxBackoff))
		t.failures++
		r.metrics.errors.WithLabelValues(string(class(s.err))).Inc()
		switch resultOf(s.err) {
		case refused:
			r.block(s.topic, s.err)
		case missing:
			r.onTopicMissing(t, s.err)
		default:
			r.status.report(r.log, s.topic, "describe a result topic", kafka.Wrap(s.err))
		}
		return
	}
	if t.wasRecreated(s.partitions) && !r.reassign(t, s.partitions) {
		t.refreshAt = now.Add(minBackoff)
		return
	}
	t.failures, t.refreshAt, t.missing = 0, now.Add(topicRefreshInterval), false
	// More partitions move keys, as for Java's producers. Rows that were assigned
	// before stay.
	t.partitions = s.partitions
	key := queueKey{s.topic, unknownPartition}
	waiting := r.queues[key]
	if waiting == nil {
		return
	}
	delete(r.queues, key)
	r.unblock(s.topic)
	r.status.clear(s.topic)
	for _, row := range waiting.rows {
		r.queueOf(row).push(row)
	}
	if waiting.overflowFrom != 0 {
		r.rewindCursor(waiting.overflowFrom)
	}
}

// hasFailingRows reports whether a topic has rows that cannot be written.
func (r *Relay) hasFailingRows(topic string) bool {
	for key, l := range r.queues {
		if key.topic == topic && (key.partition == unknownPartition || l.failures > 0) {
			return true
		}
	}
	return false
}

// block holds a topic's results back.
func (r *Relay) block(name string, err error) {
	t := r.topics[name]
	if !t.blocked() {
		r.log.Error("a broker rejects a topic's events permanently; holding them back and retrying slowly",
			"topic", name, "err", kafka.Wrap(err))
		r.metrics.blocked.WithLabelValues(name).Set(1)
		r.status.block(name, string(class(err)))
	}
	t.blockedUntil = time.Now().Add(r.config.BlockedRetry)
}

// unblock ends block.
func (r *Relay) unblock(name string) {
	t := r.topics[name]
	t.missingSince = time.Time{}
	if !t.blocked() {
		return
	}
	t.blockedUntil = time.Time{}
	r.log.Info("a topic's events can be published again", "topic", name)
	r.metrics.blocked.WithLabelValues(name).Set(0)
	r.status.unblock(name)
}

// A produceResult is what becomes of a batch after an attempt.
type produceResult uint8

const (
	published     produceResult = iota
	retry                       // a temporary or unknown fault: the same batch, the same sequence
	newProducerID               // the same batch under a new producer id
	newTimestamp                // the same batch with a later time; rejected if that does not help
	split                       // smaller batches
	refused                     // the topic is blocked
	missing                     // the topic does not exist: temporary at first
)

// produceResults are the broker's error codes with another result than retry.
var produceResults = map[kafkago.Error]produceResult{
	kafkago.DuplicateSequenceNumber:            published,
	kafkago.OutOfOrderSequenceNumber:           newProducerID,
	kafkago.InvalidProducerEpoch:               newProducerID,
	kafkago.UnknownProducerId:                  newProducerID,
	kafkago.InvalidProducerIDMapping:           newProducerID,
	kafkago.ProducerFenced:                     newProducerID,
	kafkago.MessageSizeTooLarge:                split,
	kafkago.RecordListTooLarge:                 split,
	kafkago.UnknownTopicOrPartition:            missing,
	kafkago.InvalidTopic:                       refused,
	kafkago.InvalidRecord:                      refused,
	kafkago.InvalidTimestamp:                   newTimestamp,
	kafkago.PolicyViolation:                    refused,
	kafkago.TopicAuthorizationFailed:           refused,
	kafkago.ClusterAuthorizationFailed:         refused,
	kafkago.TransactionalIDAuthorizationFailed: refused,
	kafkago.UnsupportedForMessageFormat:        refused,
	kafkago.InvalidRequiredAcks:                refused,
}

func resultOf(err error) produceResult {
	if err == nil {
		return published
	}
	if code, ok := errors.AsType[kafkago.Error](err); ok {
		if v, ok := produceResults[code]; ok {
			return v
		}
		return retry
	}
	if kafka.ClassOf(err) == kafka.MissingTopic {
		return missing
	}
	return retry
}

// onTopicMissing notes that a broker does not know a topic, and blocks it when that
// lasts.
func (r *Relay) onTopicMissing(t *topic, err error) {
	t.missing = true
	now := time.Now()
	if t.missingSince.IsZero() {
		t.missingSince = now
	} else if now.Sub(t.missingSince) >= r.config.TopicTimeout {
		r.block(t.name, err)
	}
}

// wasRecreated reports whether the description cannot be of the topic for which rows
// were assigned: it has fewer partitions, or another number after the topic was
// missing. Rows that still wait were not written to it, or are published twice with the
// same id.
func (t *topic) wasRecreated(partitions []int) bool {
	before, now := len(t.partitions), len(partitions)
	return now < before || t.missing && before > 0 && now != before
}

// reassign assigns the rows that wait for a topic that was created again, in the order
// of the outbox. It returns false while a request is in flight: a reassigned row must
// not overtake one that is not.
func (r *Relay) reassign(t *topic, partitions []int) bool {
	var old []*partitionQueue
	for _, l := range r.queues {
		if l.topic != t.name || l.partition == unknownPartition {
			continue
		}
		if l.sending {
			return false
		}
		old = append(old, l)
	}
	t.partitions = partitions
	var rows []journal.OutboxRow
	for _, l := range old {
		delete(r.queues, l.queueKey)
		r.status.clear(l.String())
		rows = append(append(rows, l.batch...), l.rows...)
		if l.overflowFrom != 0 {
			r.rewindCursor(l.overflowFrom)
		}
	}
	slices.SortFunc(rows, func(a, b journal.OutboxRow) int { return cmp.Compare(a.Row, b.Row) })
	for _, row := range rows {
		r.queueOf(row).push(row)
	}
	if len(rows) > 0 {
		r.log.Warn("a result topic was created again; assigned its waiting events to the new partitions", "topic", t.name, "partitions", len(partitions), "rows", len(rows))
	}
	return true
}
