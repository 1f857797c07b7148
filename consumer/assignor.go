package consumer

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"
)

// ProtocolName is the name of the group protocol of the workers that share a journal.
// The broker refuses a member without it, so no other client and no worker with
// another journal can join the group.
func ProtocolName(j interface{ Identity() uuid.UUID }) string {
	return "invoicebox-worker-" + j.Identity().String()
}

// An assignor assigns the partitions of all topics to the members, round robin. The
// library rebalances eagerly and each generation reads its positions from the
// journal, so a partition that stays with its member saves nothing.
type assignor struct {
	name string
	// topicsMissing is set when a topic did not exist at the last assignment of this
	// member: the library then knows the partitions of no topic.
	topicsMissing *atomic.Bool
}

func (a assignor) ProtocolName() string      { return a.name }
func (a assignor) UserData() ([]byte, error) { return nil, nil }

func (a assignor) AssignGroups(members []kafkago.GroupMember, partitions []kafkago.Partition) kafkago.GroupMemberAssignments {
	exists := map[string]bool{}
	for _, p := range partitions {
		exists[p.Topic] = true
	}
	missing := false
	assigned := kafkago.GroupMemberAssignments{}
	for _, m := range members {
		missing = missing || slices.ContainsFunc(m.Topics, func(t string) bool { return !exists[t] })
		assigned[m.ID] = map[string][]int{}
	}
	a.topicsMissing.Store(missing)

	// The result must not depend on the order in which the broker lists members.
	members, partitions = slices.Clone(members), slices.Clone(partitions)
	slices.SortFunc(members, func(x, y kafkago.GroupMember) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(partitions, func(x, y kafkago.Partition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.ID, y.ID))
	})
	next := 0
	for _, p := range partitions {
		for range members {
			m := members[next%len(members)]
			next++
			if slices.Contains(m.Topics, p.Topic) {
				assigned[m.ID][p.Topic] = append(assigned[m.ID][p.Topic], p.ID)
				break
			}
		}
	}
	return assigned
}
