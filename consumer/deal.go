package consumer

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
)

// fresh is the age of what a member gets now: the first to be passed on.
const fresh = math.MaxInt64

// A deliver is what one member is dealt.
type hand struct {
	member string
	topics map[string]bool          // that it asked for
	claims claims                   // what it says that it holds
	cards  map[topicPartition]int64 // what it is dealt, and since which generation it is its own
	of     map[string]int           // how many of a topic
}

func newHand(member string, topics []string, c claims) *hand {
	h := &hand{member: member, topics: map[string]bool{}, claims: c, cards: map[topicPartition]int64{}, of: map[string]int{}}
	for _, t := range topics {
		h.topics[t] = true
	}
	return h
}

func (h *hand) places() iter.Seq[topicPartition] { return maps.Keys(h.cards) }

func (h *hand) take(p topicPartition, since int64) {
	h.cards[p] = since
	h.of[p.topic]++
}

// deal gives every partition to one member that asked for its topic. No member
// then has two more than another that could take one of its partitions, also by
// a chain of others; with the same topics for all, totals differ by at most one,
// and no dealing as even moves fewer partitions. Hands come sorted by member,
// places sorted and each once; the outcome depends on nothing else.
func deal(hands []*hand, partitions []topicPartition) {
	if len(hands) == 0 {
		return
	}
	left := keep(hands, partitions)
	takers := map[string][]*hand{}
	for _, p := range left {
		if takers[p.topic] == nil {
			takers[p.topic] = slices.DeleteFunc(slices.Clone(hands), func(h *hand) bool { return !h.topics[p.topic] })
		}
	}
	for _, p := range left {
		if list := takers[p.topic]; len(list) > 0 {
			slices.MinFunc(list, func(x, y *hand) int {
				return cmp.Or(cmp.Compare(len(x.cards), len(y.cards)), cmp.Compare(x.of[p.topic], y.of[p.topic]))
			}).take(p, fresh)
		}
	}
	for level(hands) {
	}
}

// keep leaves to every member what is its own and returns the rest. Of two that
// claim the same, the one that has got it later is right: the other was cut off
// from the group meanwhile and does not know.
func keep(hands []*hand, partitions []topicPartition) (left []topicPartition) {
	for _, p := range partitions {
		var owner *hand
		var since int64
		for _, h := range hands {
			at, ok := h.claims[p]
			if ok && h.topics[p.topic] && (owner == nil || at > since) {
				owner, since = h, at
			}
		}
		if owner == nil {
			left = append(left, p)
			continue
		}
		owner.take(p, since)
	}
	return left
}

// level makes the hands more even by one step: a partition goes from one member
// to another that has at least two fewer, directly or by a chain of members that
// pass one on. It returns false when there is no such step.
func level(hands []*hand) bool {
	least := slices.MinFunc(hands, fewer)
	most := slices.MaxFunc(hands, fewer)
	if len(most.cards)-len(least.cards) < 2 {
		return false
	}
	if pass(most, least) {
		return true
	}
	order := slices.Clone(hands)
	slices.SortStableFunc(order, func(x, y *hand) int { return fewer(y, x) })
	for _, from := range order {
		if chain := shortest(from, hands); chain != nil {
			for i := len(chain) - 1; i > 0; i-- {
				pass(chain[i-1], chain[i])
			}
			return true
		}
	}
	return false
}

func fewer(x, y *hand) int { return cmp.Compare(len(x.cards), len(y.cards)) }

// shortest finds the shortest chain from a member to one of those that it can
// reach and that have the fewest, if that makes the two more even.
func shortest(from *hand, hands []*hand) []*hand {
	before := map[*hand]*hand{from: nil}
	best := from
	for queue := []*hand{from}; len(queue) > 0; queue = queue[1:] {
		for _, h := range hands {
			if _, seen := before[h]; seen || !queue[0].canPassTo(h) {
				continue
			}
			before[h] = queue[0]
			queue = append(queue, h)
			if fewer(h, best) < 0 {
				best = h
			}
		}
	}
	if len(from.cards)-len(best.cards) < 2 {
		return nil
	}
	var chain []*hand
	for h := best; h != nil; h = before[h] {
		chain = append(chain, h)
	}
	slices.Reverse(chain)
	return chain
}

func (h *hand) canPassTo(other *hand) bool {
	for topic, n := range h.of {
		if n > 0 && other.topics[topic] {
			return true
		}
	}
	return false
}

// pass moves a partition from one member to another: the one that came last, so
// that a worker that comes back gets what the others only held for it; of
// several, one of the topic of which the giver has the most more.
func pass(from, to *hand) bool {
	var chosen topicPartition
	found := false
	better := func(x, y topicPartition) bool {
		more := func(p topicPartition) int { return from.of[p.topic] - to.of[p.topic] }
		return cmp.Or(cmp.Compare(from.cards[x], from.cards[y]), cmp.Compare(more(x), more(y)), x.compare(y)) > 0
	}
	for p := range from.cards {
		if to.topics[p.topic] && (!found || better(p, chosen)) {
			chosen, found = p, true
		}
	}
	if !found {
		return false
	}
	delete(from.cards, chosen)
	from.of[chosen.topic]--
	to.take(chosen, fresh)
	return true
}
