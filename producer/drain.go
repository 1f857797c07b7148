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
	if r.grant == nil {
		return r.phase == standby && !r.asking // another replica publishes it
	}
	flying := r.flying
	if r.asking {
		flying--
	}
	if flying > 0 || len(r.acked) > 0 || r.more && !r.full {
		return false
	}
	for _, l := range r.lanes {
		if len(l.queue)+len(l.batch) > 0 && l.partition != unresolved && !r.topics[l.topic].stopped() {
			return false
		}
	}
	return true
}

// settle waits for what was under way when time ran out, and marks what was
// acknowledged: a row that is published and not marked is published again.
func (r *Relay) settle(ctx context.Context) {
	for r.flying > 0 {
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

func (r *Relay) leave() {
	if len(r.held) > 0 {
		topics := map[string]int{}
		for _, l := range r.lanes {
			if n := len(l.queue) + len(l.batch); n > 0 {
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
