package consumer

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"
)

// ProtocolName is the name of the group protocol that workers on a journal
// speak. Nobody else does, so the broker keeps others out of the group. It does
// not change with how partitions are dealt: workers of other versions are in
// one group while they are replaced, and whoever leads deals for all.
func ProtocolName(j interface{ Identity() uuid.UUID }) string {
	return "invoicebox-worker-" + j.Identity().String()
}

// A assignor deals the partitions of all topics to the members: evenly, and
// moving as few as that allows. Members tell it in their user data what they
// waitForCapacity; it believes them as far as that changes nothing but who gets what.
type assignor struct {
	name string
	// topicsMissing says whether, when this member dealt last, a topic was not
	// there: the library then knows the partitions of none.
	topicsMissing *atomic.Bool
	held          *holding
}

func (b assignor) ProtocolName() string      { return b.name }
func (b assignor) UserData() ([]byte, error) { return encodeClaims(b.held.claims()), nil }

func (b assignor) AssignGroups(members []kafkago.GroupMember, partitions []kafkago.Partition) kafkago.GroupMemberAssignments {
	there := map[string]bool{}
	places := make([]topicPartition, 0, len(partitions))
	for _, p := range partitions {
		there[p.Topic] = true
		places = append(places, topicPartition{p.Topic, p.ID})
	}
	incomplete := false
	for _, m := range members {
		incomplete = incomplete || slices.ContainsFunc(m.Topics, func(t string) bool { return !there[t] })
	}
	b.topicsMissing.Store(incomplete)

	hands := make([]*hand, 0, len(members))
	for _, m := range members {
		hands = append(hands, newHand(m.ID, m.Topics, decodeClaims(m.UserData)))
	}
	slices.SortFunc(hands, func(x, y *hand) int { return cmp.Compare(x.member, y.member) })
	slices.SortFunc(places, topicPartition.compare)
	deal(hands, slices.Compact(places))

	dealt := make(kafkago.GroupMemberAssignments, len(hands))
	for _, h := range hands {
		topics := map[string][]int{}
		for _, p := range slices.SortedFunc(h.places(), topicPartition.compare) {
			topics[p.topic] = append(topics[p.topic], p.partition)
		}
		dealt[h.member] = topics
	}
	return dealt
}
