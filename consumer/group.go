package consumer

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
)

// ProtocolName is the name of the group protocol that workers on a journal
// speak. Nobody else does, so the broker keeps others out of the group.
func ProtocolName(j interface{ Identity() uuid.UUID }) string {
	return "invoicebox-worker-" + j.Identity().String()
}

// A balancer deals the partitions of all topics to the members in turn.
type balancer struct {
	name string
	// incomplete says whether, when this member dealt last, a topic was not
	// there: the library then knows the partitions of none.
	incomplete *atomic.Bool
}

func (b balancer) ProtocolName() string      { return b.name }
func (b balancer) UserData() ([]byte, error) { return nil, nil }

func (b balancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	members, partitions = slices.Clone(members), slices.Clone(partitions)
	slices.SortFunc(members, func(x, y kafka.GroupMember) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(partitions, func(x, y kafka.Partition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.ID, y.ID))
	})
	there := map[string]bool{}
	for _, p := range partitions {
		there[p.Topic] = true
	}
	incomplete := false
	for _, m := range members {
		incomplete = incomplete || slices.ContainsFunc(m.Topics, func(t string) bool { return !there[t] })
	}
	b.incomplete.Store(incomplete)
	dealt := make(kafka.GroupMemberAssignments, len(members))
	for _, m := range members {
		dealt[m.ID] = map[string][]int{}
	}
	turn := 0
	for _, p := range partitions {
		// Only who asked for the topic can take it.
		for range members {
			m := members[turn%len(members)]
			turn++
			if slices.Contains(m.Topics, p.Topic) {
				dealt[m.ID][p.Topic] = append(dealt[m.ID][p.Topic], p.ID)
				break
			}
		}
	}
	return dealt
}
