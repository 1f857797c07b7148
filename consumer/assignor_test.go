package consumer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"pgregory.net/rapid"
)

func TestAssignor(t *testing.T) {
	t.Run("AssignsEveryPartitionOnceAndEvenly", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			all := []string{"a", "b", "c", "d"}
			var partitions []kafkago.Partition
			for _, topic := range all {
				for id := range rapid.IntRange(0, 8).Draw(t, topic) {
					partitions = append(partitions, kafkago.Partition{Topic: topic, ID: id})
				}
			}
			sameTopics := rapid.Bool().Draw(t, "same topics")
			var members []kafkago.GroupMember
			subscribers := map[string][]string{} // topic to members
			for i := range rapid.IntRange(0, 6).Draw(t, "members") {
				m := kafkago.GroupMember{ID: fmt.Sprint("m", i), Topics: all}
				if !sameTopics {
					m.Topics = rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 4, rapid.ID[string]).Draw(t, "topics")
				}
				for _, topic := range m.Topics {
					subscribers[topic] = append(subscribers[topic], m.ID)
				}
				members = append(members, m)
			}
			missing := new(atomic.Bool)
			assigned := assignor{"test", missing}.AssignGroups(members, partitions)

			owners, totals := map[topicPartition]string{}, map[string]int{}
			for member, topics := range assigned {
				for topic, list := range topics {
					for _, id := range list {
						p := topicPartition{topic, id}
						if other, twice := owners[p]; twice {
							t.Fatalf("%v is assigned to %s and %s", p, other, member)
						}
						if !slices.Contains(subscribers[topic], member) {
							t.Fatalf("%v is assigned to %s, which does not read the topic", p, member)
						}
						owners[p] = member
						totals[member]++
					}
				}
			}
			wantMissing := false
			for topic := range subscribers {
				wantMissing = wantMissing || !slices.ContainsFunc(partitions, func(p kafkago.Partition) bool { return p.Topic == topic })
			}
			if missing.Load() != wantMissing {
				t.Fatalf("topics missing: %v, want %v", missing.Load(), wantMissing)
			}
			for _, p := range partitions {
				if len(subscribers[p.Topic]) > 0 && owners[topicPartition{p.Topic, p.ID}] == "" {
					t.Fatalf("%s/%d is assigned to nobody", p.Topic, p.ID)
				}
			}
			if sameTopics {
				for _, x := range members {
					for _, y := range members {
						if totals[x.ID]-totals[y.ID] > 1 {
							t.Fatalf("%s has %d partitions, %s has %d", x.ID, totals[x.ID], y.ID, totals[y.ID])
						}
					}
				}
			}
			rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			rand.Shuffle(len(partitions), func(i, j int) { partitions[i], partitions[j] = partitions[j], partitions[i] })
			if diff := cmp.Diff(assigned, assignor{"test", missing}.AssignGroups(members, partitions)); diff != "" {
				t.Fatalf("another order gives another assignment:\n%s", diff)
			}
		})
	})
}
