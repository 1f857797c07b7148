package producer

import (
	"context"
	"errors"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// refreshTopics is how often the number of partitions is looked at.
const refreshTopics = time.Minute

// A topic is what the relay knows of a result topic.
type topic struct {
	name         string
	partitions   []int // empty until the topic was seen
	asked        bool  // a question is under way
	askAt        time.Time
	failures     int
	missingSince time.Time
	stoppedUntil time.Time // a broker definitely refuses; zero when open
	gone         bool      // a broker said that it is not there, since it was last seen
}

func (t *topic) stopped() bool { return !t.stoppedUntil.IsZero() }

// A seen is the answer to the question for a topic's partitions.
type seen struct {
	topic      string
	partitions []int
	err        error
}

// laneOf finds the lane of a row. Keys are placed as Java's clients do; while
// the topic is not known its rows wait together.
func (r *Relay) laneOf(row journal.Outgoing) *lane {
	name := r.config.topicOf(row.Type)
	t := r.topic(name)
	key := laneKey{name, unresolved}
	if len(t.partitions) > 0 {
		key.partition = kafkago.Murmur2Balancer{Consistent: true}.Balance(kafkago.Message{Key: row.Message.Key}, t.partitions...)
	}
	l := r.lanes[key]
	if l == nil {
		if key.partition == unresolved {
			t.askAt = time.Time{}
			r.status.hold(name, time.Now())
		}
		l = &lane{laneKey: key, limit: r.config.BatchBytes}
		r.lanes[key] = l
	}
	return l
}

// topic finds or makes what is known of a topic.
func (r *Relay) topic(name string) *topic {
	t := r.topics[name]
	if t == nil {
		t = &topic{name: name}
		r.topics[name] = t
	}
	return t
}

// resolve asks for the partitions of topics that are not known, or were looked
// at long ago.
func (r *Relay) resolve(ctx context.Context, now time.Time, wait func(time.Time)) {
	for _, t := range r.topics {
		if t.asked {
			continue
		}
		if now.Before(t.askAt) {
			wait(t.askAt)
			continue
		}
		t.asked = true
		name := t.name
		r.fly(func() any {
			partitions, err := r.partitions(ctx, name)
			return seen{name, partitions, err}
		})
	}
}

func (r *Relay) partitions(ctx context.Context, name string) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := r.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{name}})
	if err != nil {
		return nil, err
	}
	for _, t := range answer.Topics {
		if t.Name != name {
			continue
		}
		if t.Error != nil {
			return nil, t.Error
		}
		// Partitions are numbered without gaps; one without a leader counts.
		list := make([]int, len(t.Partitions))
		for i := range list {
			list[i] = i
		}
		if len(list) > 0 {
			return list, nil
		}
	}
	return nil, kafkago.UnknownTopicOrPartition
}

// resolved takes the answer in and moves what waited for it.
func (r *Relay) resolved(s seen) {
	t := r.topics[s.topic]
	t.asked = false
	now := time.Now()
	t.gone = t.gone || verdictOf(s.err) == missing
	if s.err != nil {
		// Nothing waits for the answer: no hurry, and nothing to complain of.
		if !r.waits(s.topic) {
			t.askAt = now.Add(mostPause)
			return
		}
		t.askAt = now.Add(min(leastPause<<min(t.failures, 10), mostPause))
		t.failures++
		r.metrics.errors.WithLabelValues(string(class(s.err))).Inc()
		switch verdictOf(s.err) {
		case refused:
			r.stop(s.topic, s.err)
		case missing:
			r.missed(t, s.err)
		default:
			r.status.note(r.log, s.topic, "looking for a result topic; trying again", kafka.Explain(s.err))
		}
		return
	}
	if t.isAnother(s.partitions) && !r.replace(t, s.partitions) {
		t.askAt = now.Add(leastPause)
		return
	}
	t.failures, t.askAt, t.gone = 0, now.Add(refreshTopics), false
	// More partitions move keys, as they do for Java's producers: what was
	// placed before stays where it is.
	t.partitions = s.partitions
	key := laneKey{s.topic, unresolved}
	waiting := r.lanes[key]
	if waiting == nil {
		return
	}
	delete(r.lanes, key)
	r.open(s.topic)
	r.status.clear(s.topic)
	for _, row := range waiting.queue {
		r.laneOf(row).push(row)
	}
	if waiting.skipFrom != 0 {
		r.back(waiting.skipFrom)
	}
}

// waits tells whether a topic has rows that cannot be written.
func (r *Relay) waits(topic string) bool {
	for key, l := range r.lanes {
		if key.topic == topic && (key.partition == unresolved || l.failures > 0) {
			return true
		}
	}
	return false
}

// stop holds a topic's results back.
func (r *Relay) stop(name string, err error) {
	t := r.topics[name]
	if !t.stopped() {
		r.log.Error("a broker refuses a topic's results for good; they are held back and tried again slowly",
			"topic", name, "err", kafka.Explain(err))
		r.metrics.stopped.WithLabelValues(name).Set(1)
		r.status.stop(name, string(class(err)))
	}
	t.stoppedUntil = time.Now().Add(r.config.StoppedRetry)
}

// open ends stop.
func (r *Relay) open(name string) {
	t := r.topics[name]
	t.missingSince = time.Time{}
	if !t.stopped() {
		return
	}
	t.stoppedUntil = time.Time{}
	r.log.Info("a topic's results can be published again", "topic", name)
	r.metrics.stopped.WithLabelValues(name).Set(0)
	r.status.open(name)
}

// A verdict is what becomes of a batch after an attempt.
type verdict uint8

const (
	published verdict = iota
	again             // a passing fault, or nobody knows: the same batch, the same sequence
	renumber          // the same batch under a new identity
	retime            // the same batch with a later time; refused when that does not help
	split             // smaller batches
	refused           // the topic is stopped
	missing           // the topic is not there: passing at first
)

// verdicts are the broker's error codes with another verdict than again.
var verdicts = map[kafkago.Error]verdict{
	kafkago.DuplicateSequenceNumber:            published,
	kafkago.OutOfOrderSequenceNumber:           renumber,
	kafkago.InvalidProducerEpoch:               renumber,
	kafkago.UnknownProducerId:                  renumber,
	kafkago.InvalidProducerIDMapping:           renumber,
	kafkago.ProducerFenced:                     renumber,
	kafkago.MessageSizeTooLarge:                split,
	kafkago.RecordListTooLarge:                 split,
	kafkago.UnknownTopicOrPartition:            missing,
	kafkago.InvalidTopic:                       refused,
	kafkago.InvalidRecord:                      refused,
	kafkago.InvalidTimestamp:                   retime,
	kafkago.PolicyViolation:                    refused,
	kafkago.TopicAuthorizationFailed:           refused,
	kafkago.ClusterAuthorizationFailed:         refused,
	kafkago.TransactionalIDAuthorizationFailed: refused,
	kafkago.UnsupportedForMessageFormat:        refused,
	kafkago.InvalidRequiredAcks:                refused,
}

func verdictOf(err error) verdict {
	if err == nil {
		return published
	}
	if code, ok := errors.AsType[kafkago.Error](err); ok {
		if v, ok := verdicts[code]; ok {
			return v
		}
		return again
	}
	if kafka.ClassOf(err) == kafka.MissingTopic {
		return missing
	}
	return again
}

// refusesIdentity tells whether the cluster gives this user no producer ids:
// old clusters want a right of their own for it.
func refusesIdentity(err error) bool {
	return errors.Is(err, kafkago.ClusterAuthorizationFailed) || errors.Is(err, kafkago.UnsupportedVersion)
}
