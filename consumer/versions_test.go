package consumer_test

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// versionOne is the balancer of the workers that sent no user data: it deals in
// turn, whatever members hold.
type versionOne struct {
	named
	led chan struct{}
}

func (v versionOne) AssignGroups(members []kafkago.GroupMember, partitions []kafkago.Partition) kafkago.GroupMemberAssignments {
	select {
	case v.led <- struct{}{}:
	default:
	}
	members, partitions = slices.Clone(members), slices.Clone(partitions)
	slices.SortFunc(members, func(x, y kafkago.GroupMember) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(partitions, func(x, y kafkago.Partition) int { return cmp.Compare(x.ID, y.ID) })
	dealt := kafkago.GroupMemberAssignments{}
	for _, m := range members {
		dealt[m.ID] = map[string][]int{}
	}
	for i, p := range partitions {
		m := members[i%len(members)]
		dealt[m.ID][p.Topic] = append(dealt[m.ID][p.Topic], p.ID)
	}
	return dealt
}

// A worker of the version before and one of this are in one group while workers
// are replaced. Whoever leads, each has half, and what the other leaves is taken
// over.
func TestAWorkerOfTheVersionBeforeInTheGroup(t *testing.T) {
	for name, oldLeads := range map[string]bool{"the old one leads": true, "the new one leads": false} {
		t.Run(name, func(t *testing.T) {
			kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
				topic, g, j := c.NewTopic(t, "in", 4), group(), newInbox()
				var r *running
				if !oldLeads {
					r = start(t, c, g, topic, j)
					eventually(t, "the new one alone", func() bool { ok, _ := r.Ready(); return ok })
				}
				led := make(chan struct{}, 1)
				old, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
					ID: g, Brokers: c.Brokers(), Topics: []string{topic}, HeartbeatInterval: 200 * time.Millisecond, JoinGroupBackoff: 100 * time.Millisecond,
					GroupBalancers: []kafkago.GroupBalancer{versionOne{named{consumer.ProtocolName(j)}, led}},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = old.Close() }()
				has := func(n int) (mine []kafkago.PartitionAssignment) {
					eventually(t, "the old one's share", func() bool {
						generation, err := old.Next(t.Context())
						if err != nil {
							return false
						}
						mine = generation.Assignments[topic]
						if len(mine) != n { // the next generation comes when this one is given back
							generation.Start(func(ctx context.Context) { <-ctx.Done() })
						}
						return len(mine) == n
					})
					return mine
				}
				if oldLeads {
					_ = has(4)
					r = start(t, c, g, topic, j)
				}
				mine := has(2)
				c.Produce(t, topic, many(0, 400))
				read := func(p int) bool {
					return j.position(topic, p) == c.Offsets(t, topic)[p].Next
				}
				others := func() (list []int) {
					for p := range 4 {
						if !slices.ContainsFunc(mine, func(a kafkago.PartitionAssignment) bool { return a.ID == p }) {
							list = append(list, p)
						}
					}
					return list
				}()
				eventually(t, "the new one's share", func() bool { return read(others[0]) && read(others[1]) })
				for _, a := range mine {
					if j.position(topic, a.ID) != 0 {
						t.Errorf("the new one has read partition %d of the old one", a.ID)
					}
				}
				if (len(led) == 1) != oldLeads {
					t.Errorf("the old one has led: %v", len(led) == 1)
				}
				if err := old.Close(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "what the old one left", func() bool { return j.taken() == 400 })
			})
		})
	}
}

// stalled is a journal whose transactions end only when they are given up.
type stalled struct {
	*inbox
	tried, release chan struct{}
}

func (s stalled) Ingest(ctx context.Context, _ journal.Batch) (journal.Ingested, error) {
	select {
	case s.tried <- struct{}{}:
	default:
	}
	select {
	case <-ctx.Done():
		return journal.Ingested{}, ctx.Err()
	case <-s.release:
		return journal.Ingested{}, context.Canceled
	}
}

// All members of a group wait for the slowest: a batch that does not end is given
// up long before the time that it has when the worker stops.
func TestASlowBatchDoesNotHoldUpTheGroup(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, g, j := c.NewTopic(t, "in", 2), group(), newInbox()
	c.Produce(t, topic, many(0, 20))
	slow := func(c *consumer.Config) { c.ShutdownTimeout, c.SessionTimeout = 25*time.Second, 30*time.Second }
	tried, release := make(chan struct{}, 1), make(chan struct{})
	start(t, c, g, topic, stalled{j, tried, release}, slow)
	<-tried
	began := time.Now()
	defer close(release)
	start(t, c, g, topic, j, slow)
	eventually(t, "the second's share", func() bool { return j.taken() > 0 })
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("joining took %v", took)
	}
}
