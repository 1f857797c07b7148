package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// A ingestion is a batch that a member brought into the shared inbox.
type ingestion struct {
	at     time.Time
	member string
	place  topicPartition
}

// ingestions are all of them, in order.
type ingestions struct {
	mu   sync.Mutex
	list []ingestion
}

func (t *ingestions) since(from int) []ingestion {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list[from:]
}

// owners are the members that brought in the last batch of each partition.
func owners(list []ingestion) map[topicPartition]string {
	found := map[topicPartition]string{}
	for _, one := range list {
		found[one.place] = one.member
	}
	return found
}

// sharedInbox is the journal of all members as one of them has it.
type sharedInbox struct {
	*inbox
	takings *ingestions
	member  string
}

func (s sharedInbox) Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error) {
	// One lock over both, so that the list has the order of the journal.
	s.takings.mu.Lock()
	defer s.takings.mu.Unlock()
	done, err := s.inbox.Ingest(ctx, b)
	if err == nil {
		s.takings.list = append(s.takings.list, ingestion{time.Now(), s.member, topicPartition{b.Topic, b.Partition}})
	}
	return done, err
}

// A rollingGroup is three members under load.
type rollingGroup struct {
	cluster    *kafkatest.Cluster
	topics     []string
	partitions int
	group      string
	journal    *inbox
	takings    *ingestions
	members    map[string]*running
	load       context.CancelFunc
	produced   chan int
}

const tick = 20 * time.Millisecond // a record of every partition

func newRollingGroup(t *testing.T, c *kafkatest.Cluster) *rollingGroup {
	f := &rollingGroup{
		cluster: c, partitions: 6, group: group(), journal: newInbox(), takings: &ingestions{}, members: map[string]*running{}, produced: make(chan int, 1),
	}
	f.topics = []string{c.NewTopic(t, "codes", f.partitions), c.NewTopic(t, "selected", f.partitions)}
	var ctx context.Context
	ctx, f.load = context.WithCancel(context.Background())
	writer := &kafkago.Writer{
		Addr: kafkago.TCP(c.Brokers()...), BatchTimeout: time.Millisecond, RequiredAcks: kafkago.RequireAll,
		Transport: &kafkago.Transport{MetadataTopics: f.topics},
		Balancer:  kafkago.BalancerFunc(func(m kafkago.Message, _ ...int) int { return m.WriterData.(int) }),
	}
	go func() {
		n := 0
		defer func() {
			_ = writer.Close()
			writer.Transport.(*kafkago.Transport).CloseIdleConnections()
			f.produced <- n
		}()
		for pace := time.NewTicker(tick); ; <-pace.C {
			if ctx.Err() != nil {
				return
			}
			var list []kafkago.Message
			for _, topic := range f.topics {
				for partition := range f.partitions {
					m := selected(fmt.Sprint("event-", n), fmt.Sprint("shop-", partition))
					m.Topic, m.WriterData = topic, partition
					list = append(list, m)
					n++
				}
			}
			if err := writer.WriteMessages(context.WithoutCancel(ctx), list...); err != nil {
				t.Errorf("producing: %v", err)
				return
			}
		}
	}()
	t.Cleanup(f.load)
	for _, name := range []string{"a0", "b0", "c0"} {
		f.start(t, name)
		f.settled(t)
	}
	return f
}

func (f *rollingGroup) start(t *testing.T, name string) {
	types := map[string]string{}
	for _, topic := range f.topics {
		types[topic] = schemas.TypeProviderSelected
	}
	f.members[name] = start(t, f.cluster, f.group, f.topics[0], sharedInbox{f.journal, f.takings, name}, func(c *consumer.Config) {
		decoder, err := schemas.NewDecoder(schemas.DecoderOptions{Types: types, Accounts: []string{"default"}})
		conn, err2 := kafka.New(kafka.Config{Brokers: f.cluster.Brokers(), ClientID: name})
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		c.Topics, c.Decoder, c.Kafka = f.topics, decoder, conn
	})
}

func (f *rollingGroup) stop(name string) {
	f.members[name].stop()
	delete(f.members, name)
}

// settled waits until all members are at work and have an even share.
func (f *rollingGroup) settled(t *testing.T) {
	from := len(f.takings.since(0))
	eventually(t, "an even share for all", func() bool {
		share := map[string]int{}
		owned := owners(f.takings.since(from))
		for _, member := range owned {
			share[member]++
		}
		for name := range f.members {
			if share[name] < len(f.topics)*f.partitions/len(f.members) {
				return false
			}
		}
		return len(owned) == len(f.topics)*f.partitions && len(share) == len(f.members)
	})
}

// gap is the longest time for which a partition was not read.
func (f *rollingGroup) gap(from int) (longest time.Duration) {
	last := map[topicPartition]ingestion{}
	list := f.takings.since(0)
	for i, one := range list {
		before, ok := last[one.place]
		last[one.place] = one
		if !ok || i < from {
			continue
		}
		longest = max(longest, one.at.Sub(before.at))
	}
	return longest
}

// The ways in which an orchestrator replaces a worker.
const (
	goesThenComes = "one goes, then one comes"
	goesAndComes  = "one goes and one comes at once"
	comesThenGoes = "one comes, then one goes"
)

// A rolling restart takes every record once, and pauses a partition only for a moment.
func testConsumerRollingRestart(t *testing.T) {
	for _, way := range []string{goesThenComes, goesAndComes, comesThenGoes} {
		t.Run(way, func(t *testing.T) {
			kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
				f := newRollingGroup(t, c)
				for _, restart := range [][2]string{{"a0", "a1"}, {"b0", "b1"}, {"c0", "c1"}} {
					from := len(f.takings.since(0))
					switch way {
					case goesThenComes:
						f.stop(restart[0])
						f.settled(t)
						f.start(t, restart[1])
					case goesAndComes:
						f.stop(restart[0])
						f.start(t, restart[1])
					case comesThenGoes:
						f.start(t, restart[1])
						f.settled(t)
						f.stop(restart[0])
					}
					f.settled(t)
					longest := f.gap(from)
					t.Logf("%s restarted: no partition was read for longer than %v", restart[0], longest.Round(time.Millisecond))
					if longest > 5*time.Second {
						t.Errorf("a partition was not read for %v", longest)
					}
				}
				f.load()
				produced := <-f.produced
				eventually(t, "the rest", func() bool { return f.journal.taken() >= produced })
				read := 0
				for _, b := range f.journal.batches {
					read += len(b.Events)
				}
				if n := f.journal.taken(); n != produced || read != produced {
					t.Errorf("%d taken in, %d brought in, %d produced", n, read, produced)
				}
			})
		})
	}
}
