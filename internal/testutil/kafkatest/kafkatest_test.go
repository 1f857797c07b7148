package kafkatest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestCluster(t *testing.T) {
	t.Run("ReadsWhatWasProduced", testClusterReadsWhatWasProduced)
	t.Run("KeepsOrderOfKey", testClusterKeepsOrderOfKey)
	t.Run("OffsetsAndCommits", testClusterOffsetsAndCommits)
	t.Run("RefusesLargeRecord", testClusterRefusesLargeRecord)
	t.Run("SASL", testClusterSASL)
}

func testClusterReadsWhatWasProduced(t *testing.T) {
	t.Parallel()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "round-trip", 3)
		at := time.Now().Truncate(time.Millisecond)
		sent := []kafkago.Message{
			{Key: []byte("a"), Value: []byte("1"), Time: at, Headers: []kafkago.Header{{Key: "h", Value: []byte("x")}, {Key: "h", Value: []byte("y")}}},
			{Key: []byte("b"), Value: []byte("2"), Time: at.Add(time.Second)},
			{Key: []byte("a"), Value: nil, Time: at.Add(2 * time.Second)},
			{Key: []byte("a"), Value: []byte{}, Time: at.Add(3 * time.Second)},
			{Key: []byte("a"), Value: bytes.Repeat([]byte{0}, 5<<20), Time: at.Add(4 * time.Second)},
		}
		c.Produce(t, topic, sent)
		got := c.ReadAll(t, topic)

		want := slices.Clone(sent)
		place := kafkago.Murmur2Balancer{}
		for i := range want {
			want[i].Topic = topic
			want[i].Partition = place.Balance(want[i], 0, 1, 2)
		}
		slices.SortStableFunc(want, func(a, b kafkago.Message) int { return a.Partition - b.Partition })
		// A tombstone and an empty value are two things.
		options := cmp.Options{
			cmpopts.IgnoreFields(kafkago.Message{}, "Offset", "HighWaterMark"),
			cmp.Comparer(func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }),
		}
		for i := range got {
			if len(got[i].Headers) == 0 {
				got[i].Headers = nil
			}
		}
		if d := cmp.Diff(want, got, options); d != "" {
			t.Errorf("(-produced +read):\n%.2000s", d)
		}
		for _, m := range got {
			if m.Offset >= m.HighWaterMark {
				t.Errorf("offset %d of %d", m.Offset, m.HighWaterMark)
			}
		}
		if again := c.Await(t, topic, len(sent)); len(again) != len(sent) {
			t.Errorf("Await gave %d records of %d", len(again), len(sent))
		}
	})
}

func testClusterKeepsOrderOfKey(t *testing.T) {
	t.Parallel()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "order", 4)
		const keys, each = 20, 100
		var sent []kafkago.Message
		for i := range each {
			for k := range keys {
				sent = append(sent, kafkago.Message{Key: fmt.Appendf(nil, "shop-%d", k), Value: []byte(strconv.Itoa(i))})
			}
		}
		c.Produce(t, topic, sent)
		next := map[string]int{}
		partition := map[string]int{}
		for _, m := range c.ReadAll(t, topic) {
			key := string(m.Key)
			if p, seen := partition[key]; seen && p != m.Partition {
				t.Fatalf("%s is in partitions %d and %d", key, p, m.Partition)
			}
			partition[key] = m.Partition
			if string(m.Value) != strconv.Itoa(next[key]) {
				t.Fatalf("%s: record %q, want %d", key, m.Value, next[key])
			}
			next[key]++
		}
		for k, n := range next {
			if n != each {
				t.Errorf("%s: %d records of %d", k, n, each)
			}
		}
		if len(next) != keys {
			t.Errorf("%d keys of %d", len(next), keys)
		}
	})
}

func testClusterOffsetsAndCommits(t *testing.T) {
	t.Parallel()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "offsets", 2)
		key := keyFor(t, 1, 2)
		c.Produce(t, topic, []kafkago.Message{{Key: key, Value: []byte("1")}, {Key: key, Value: []byte("2")}})
		want := []kafkatest.PartitionOffsets{{Partition: 0}, {Partition: 1, Next: 2}}
		if d := cmp.Diff(want, c.Offsets(t, topic)); d != "" {
			t.Errorf("offsets (-want +got):\n%s", d)
		}

		group := "group-of-" + topic
		if got := c.Committed(t, group, topic); len(got) != 0 {
			t.Errorf("commits of a group that never was: %v", got)
		}
		commit(t, c, group, topic, map[int]int64{1: 2})
		if d := cmp.Diff(map[int]int64{1: 2}, c.Committed(t, group, topic)); d != "" {
			t.Errorf("commits (-want +got):\n%s", d)
		}
	})
}

func testClusterRefusesLargeRecord(t *testing.T) {
	t.Parallel()
	c := kafkatest.Embedded(t, kafkatest.WithTopic("small", 1), kafkatest.WithMaxMessageBytes(100_000))
	refusesOver(t, c, "small", 100_000)
	t.Run("apache-kafka", func(t *testing.T) {
		c := kafkatest.Shared(t)
		refusesOver(t, c, c.NewTopic(t, "large", 1), kafkatest.SharedMaxMessageBytes)
	})
}

// refusesOver writes past the writer's own limit, so that it is the broker who
// refuses.
func refusesOver(t *testing.T, c *kafkatest.Cluster, topic string, limit int) {
	t.Helper()
	transport := &kafkago.Transport{}
	writer := &kafkago.Writer{
		Addr: kafkago.TCP(c.Brokers()...), Topic: topic, RequiredAcks: kafkago.RequireAll, BatchBytes: 100 << 20, MaxAttempts: 1,
		Transport: transport,
	}
	defer transport.CloseIdleConnections()
	defer func() { _ = writer.Close() }()
	err := writer.WriteMessages(t.Context(), kafkago.Message{Value: make([]byte, limit+1)})
	var each kafkago.WriteErrors
	if !errors.As(err, &each) || !errors.Is(each[0], kafkago.MessageSizeTooLarge) {
		t.Errorf("a record of %d bytes: %v, want %v", limit+1, err, kafkago.MessageSizeTooLarge)
	}
	c.Produce(t, topic, []kafkago.Message{{Value: make([]byte, limit/2)}})
	if n := len(c.ReadAll(t, topic)); n != 1 {
		t.Errorf("%d records, want the small one alone", n)
	}
}

func testEmbeddedHasManyBrokers(t *testing.T) {
	t.Parallel()
	c := kafkatest.Embedded(t, kafkatest.WithBrokers(3), kafkatest.WithTopic("t", 6))
	if n := len(c.Brokers()); n != 3 {
		t.Errorf("%d brokers, want 3", n)
	}
	if n := len(c.Offsets(t, "t")); n != 6 {
		t.Errorf("%d partitions, want 6", n)
	}
	for name, fault := range map[string]func(int) error{"Stop": c.Stop, "Kill": c.Kill, "Start": c.Start, "Pause": c.Pause, "Resume": c.Resume} {
		if err := fault(0); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, want %v", name, err, errors.ErrUnsupported)
		}
	}
}

func testClusterSASL(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{kafkatest.Plain, kafkatest.ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			user := kafkatest.SASL{Mechanism: mechanism, Username: "worker", Password: "made-up"}
			kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
				c.Produce(t, "t", []kafkago.Message{{Value: []byte("1")}})
				if n := len(c.ReadAll(t, "t")); n != 1 {
					t.Errorf("%d records, want 1", n)
				}
				if err := requestWithoutPassword(t, c); err == nil {
					t.Error("a client without a password was let in")
				}
			}, kafkatest.WithSASL(user), kafkatest.WithTopic("t", 1))
		})
	}
}

func TestConfig(t *testing.T) {
	t.Run("RefusesInvalid", testConfigRefusesInvalid)
}

func testConfigRefusesInvalid(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]kafkatest.Config{
		"too many brokers":   {Brokers: 10},
		"negative brokers":   {Brokers: -1},
		"negative size":      {MaxMessageBytes: -1},
		"unknown mechanism":  {SASL: &kafkatest.SASL{Mechanism: "NONE"}},
		"a folder of no jar": {JarDir: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := kafkatest.StartReal(t.Context(), config)
			if err == nil {
				t.Fatal(errors.Join(errors.New("it started"), c.Close()))
			}
			if errors.Is(err, kafkatest.ErrNotInstalled) && name != "a folder of no jar" {
				t.Errorf("%v, want a word about the config", err)
			}
		})
	}
}

// requestWithoutPassword asks for metadata with a client that knows no password, and
// has a second for the answer.
func requestWithoutPassword(t *testing.T, c *kafkatest.Cluster) error {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := (&kafkago.Client{Addr: kafkago.TCP(c.Brokers()...), Transport: transport}).Metadata(ctx, &kafkago.MetadataRequest{})
	return err
}

// commit commits offsets the way a consumer does.
func commit(t *testing.T, c *kafkatest.Cluster, group, topic string, offsets map[int]int64) {
	t.Helper()
	consumers, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: group, Brokers: c.Brokers(), Topics: []string{topic}, StartOffset: kafkago.FirstOffset,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = consumers.Close() }()
	for {
		generation, err := consumers.Next(t.Context())
		if errors.Is(err, kafkago.GroupCoordinatorNotAvailable) {
			continue // as every fresh cluster answers at first
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := generation.CommitOffsets(map[string]map[int]int64{topic: offsets}); err != nil {
			t.Fatal(err)
		}
		return
	}
}

// keyFor gives a key that lands in one partition of n.
func keyFor(t *testing.T, partition, n int) []byte {
	t.Helper()
	partitions := make([]int, n)
	for i := range partitions {
		partitions[i] = i
	}
	for i := range 1000 {
		key := fmt.Appendf(nil, "key-%d", i)
		if (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: key}, partitions...) == partition {
			return key
		}
	}
	t.Fatal("no key found")
	return nil
}
