package producer

import (
	"cmp"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
)

// onTopicMissing notes that a broker does not know a topic, and stops its results when
// that lasts.
func (r *Relay) onTopicMissing(t *topic, err error) {
	t.missing = true
	now := time.Now()
	if t.missingSince.IsZero() {
		t.missingSince = now
	} else if now.Sub(t.missingSince) >= r.config.TopicTimeout {
		r.block(t.name, err)
	}
}

// wasRecreated tells whether what is seen cannot be the topic for which rows were
// placed: it has fewer partitions, or another number after it was gone. What
// still waits was not written to it, or comes twice with the same id.
func (t *topic) wasRecreated(partitions []int) bool {
	before, now := len(t.partitions), len(partitions)
	return now < before || t.missing && before > 0 && now != before
}

// reassign places what waits for a topic that was made anew, in the order of the
// outbox. It returns false while a request is under way: a row that is placed
// anew must not overtake one that is not.
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
	var rows []journal.Outgoing
	for _, l := range old {
		delete(r.queues, l.queueKey)
		r.status.clear(l.String())
		rows = append(append(rows, l.batch...), l.rows...)
		if l.overflowFrom != 0 {
			r.rewindCursor(l.overflowFrom)
		}
	}
	slices.SortFunc(rows, func(a, b journal.Outgoing) int { return cmp.Compare(a.Row, b.Row) })
	for _, row := range rows {
		r.queueOf(row).push(row)
	}
	if len(rows) > 0 {
		r.log.Warn("a result topic was made anew; what waits for it is placed anew", "topic", t.name, "partitions", len(partitions), "rows", len(rows))
	}
	return true
}
