package producer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// drained tells whether nothing is left that could be published now.
func (r *Relay) drained() bool {
	if r.lease == nil {
		return r.phase == standby && !r.renewing // another replica publishes it
	}
	flying := r.inFlight
	if r.renewing {
		flying--
	}
	if flying > 0 || len(r.acked) > 0 || r.more && !r.full {
		return false
	}
	for _, l := range r.queues {
		if len(l.rows)+len(l.batch) > 0 && l.partition != unknownPartition && !r.topics[l.topic].blocked() {
			return false
		}
	}
	return true
}

// flush waits for what was under way when time ran out, and marks what was
// acknowledged: a row that is published and not marked is published again.
func (r *Relay) flush(ctx context.Context) {
	for r.inFlight > 0 {
		r.handle(ctx, <-r.events)
	}
	if len(r.acked) == 0 {
		return
	}
	last, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r.mark(last)
	r.handle(ctx, <-r.events)
}

func (r *Relay) logUnpublished() {
	if len(r.buffered) > 0 {
		topics := map[string]int{}
		for _, l := range r.queues {
			if n := len(l.rows) + len(l.batch); n > 0 {
				topics[l.topic] += n
			}
		}
		var words []string
		for t, n := range topics {
			words = append(words, fmt.Sprintf("%s: %d", t, n))
		}
		slices.Sort(words)
		r.log.Warn("stopping; results stay in the outbox", "held", strings.Join(words, ", "))
	}
}
