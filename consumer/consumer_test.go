package consumer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
)

func many(from, n int) []kafkago.Message {
	var list []kafkago.Message
	for i := range n {
		list = append(list, selected(fmt.Sprint("event-", from+i), fmt.Sprint("shop-", (from+i)%17)))
	}
	return list
}

func TestConsumer(t *testing.T) {
	t.Run("IngestsRecordsAndCommitsOffsets", testConsumerIngestsRecordsAndCommitsOffsets)
	t.Run("IngestsQuicklyWhenIdle", testConsumerIngestsQuicklyWhenIdle)
	t.Run("BeginsAtStart", testConsumerBeginsAtStart)
	t.Run("EmptyTopicNeedsNoStart", testConsumerEmptyTopicNeedsNoStart)
	t.Run("EndsWithoutTopicOrBroker", testConsumerEndsWithoutTopicOrBroker)
	t.Run("WaitsForMissingTopic", testConsumerWaitsForMissingTopic)
	t.Run("RefusesGroupAheadOfJournal", testConsumerRefusesGroupAheadOfJournal)
	t.Run("RefusesPositionBeyondEnd", testConsumerRefusesPositionBeyondEnd)
	t.Run("ReportsDeletedRecords", testConsumerReportsDeletedRecords)
	t.Run("RefusesGroupOfAnotherJournal", testConsumerRefusesGroupOfAnotherJournal)
	t.Run("KeepsForeignClientsOut", testConsumerKeepsForeignClientsOut)
	t.Run("SharesPartitionsBetweenMembers", testConsumerSharesPartitionsBetweenMembers)
	t.Run("RetriesWhileJournalFails", testConsumerRetriesWhileJournalFails)
	t.Run("ResumesAtMovedPosition", testConsumerResumesAtMovedPosition)
	t.Run("FindsNewPartition", testConsumerFindsNewPartition)
	t.Run("StartsWhileLeaderIsDead", testConsumerStartsWhileLeaderIsDead)
	t.Run("FollowsMovedLeader", testConsumerFollowsMovedLeader)
	t.Run("RetriesTemporaryFaults", testConsumerRetriesTemporaryFaults)
	t.Run("EndsWithoutRights", testConsumerEndsWithoutRights)
	t.Run("IngestsLargeRecords", testConsumerIngestsLargeRecords)
	t.Run("KeepsOrderOfDeselection", testConsumerKeepsOrderOfDeselection)
	t.Run("StopsInTheMiddle", testConsumerStopsInTheMiddle)
	t.Run("ReportsMissingTopic", testConsumerReportsMissingTopic)
	t.Run("RefusesLostJournal", testConsumerRefusesLostJournal)
	t.Run("Prepare", testConsumerPrepare)
	t.Run("CallsOnFirstRun", testConsumerCallsOnFirstRun)
	t.Run("RefusesLogFilledBeyondPosition", testConsumerRefusesLogFilledBeyondPosition)
	t.Run("ContinuesWithSameLog", testConsumerContinuesWithSameLog)
	t.Run("ContinuesWithTruncatedLog", testConsumerContinuesWithTruncatedLog)
	t.Run("UncleanLeaderElection", testConsumerUncleanLeaderElection)
	t.Run("ComparesLogsCheaply", testConsumerComparesLogsCheaply)
	t.Run("ClientOfTheNewProtocol", testConsumerClientOfTheNewProtocol)
	t.Run("AssignmentsHoldUserData", testConsumerAssignmentsHoldUserData)
	t.Run("RollingRestart", testConsumerRollingRestart)
	t.Run("AbandonsSlowBatchInRebalance", testConsumerAbandonsSlowBatchInRebalance)
	t.Run("PausesWithoutCapacity", testConsumerPausesWithoutCapacity)
	t.Run("SurvivesBrokerRestart", testConsumerSurvivesBrokerRestart)
	t.Run("StopsDuringLongJoin", testConsumerStopsDuringLongJoin)
	t.Run("RefusesJournalThatGoesBack", testConsumerRefusesJournalThatGoesBack)
	t.Run("SkipsAbortedTransactions", testConsumerSkipsAbortedTransactions)
	t.Run("RecordOutcomes", testConsumerRecordOutcomes)
}

func testConsumerIngestsRecordsAndCommitsOffsets(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g, j := c.NewTopic(t, "in", 3), group(), newInbox()
		c.Produce(t, topic, many(0, 1200))
		r := start(t, c, g, topic, j)
		eventually(t, "the first records", func() bool { return j.taken() == 1200 })
		c.Produce(t, topic, many(1200, 100))
		eventually(t, "the later records", func() bool { return j.taken() == 1300 })
		if ok, word := r.Ready(); !ok {
			t.Errorf("not ready: %s", word)
		}
		r.stop()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
		for _, b := range c.Offsets(t, topic) {
			if at := j.position(topic, b.Partition); at != b.Next {
				t.Errorf("partition %d: position %d, end %d", b.Partition, at, b.Next)
			}
			if at := c.Committed(t, g, topic)[b.Partition]; at != b.Next {
				t.Errorf("partition %d: committed %d, end %d", b.Partition, at, b.Next)
			}
		}
		if n := metrictest.Sum(t, r.registry, "invoicebox_worker_records_total", "topic", topic, "outcome", consumer.Accepted); n != 1300 {
			t.Errorf("accepted: %v", n)
		}
		if ok, _ := r.Ready(); ok {
			t.Error("ready after the end")
		}

		// A second run reads nothing twice, and its repeats are repeats.
		r = start(t, c, g, topic, j)
		c.Produce(t, topic, append(many(0, 50), many(1300, 10)...))
		eventually(t, "the repeats", func() bool {
			return j.taken() == 1310 && metrictest.Sum(t, r.registry, "invoicebox_worker_records_total", "outcome", consumer.Repeated) == 50
		})
	})
}

func testConsumerIngestsQuicklyWhenIdle(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	start(t, c, group(), topic, j)
	c.Produce(t, topic, many(0, 1))
	eventually(t, "the first", func() bool { return j.taken() == 1 })
	var took []time.Duration
	for i := range 20 {
		began := time.Now() // the time to produce is in it
		c.Produce(t, topic, many(i+1, 1))
		eventually(t, "the next", func() bool { return j.taken() == i+2 })
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	if t.Logf("median %v", took[10]); took[10] > 300*time.Millisecond {
		t.Errorf("the median is %v", took[10])
	}
}

func testConsumerBeginsAtStart(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "in", 2)
		old := many(0, 20)
		at := time.Now().Add(-time.Hour).Truncate(time.Second)
		for i := range old {
			old[i].Time = at.Add(-time.Hour)
		}
		c.Produce(t, topic, old)
		young := many(20, 30)
		for i := range young {
			young[i].Time = at.Add(time.Minute)
		}
		c.Produce(t, topic, young)

		t.Run("unset", func(t *testing.T) {
			j := newInbox()
			r := start(t, c, group(), topic, j, withStart(consumer.StartUnset))
			if err := r.ends(t, 15*time.Second); !errors.Is(err, consumer.ErrStartRequired) {
				t.Fatalf("Run: %v", err)
			}
			if len(j.positions) != 0 || j.taken() != 0 {
				t.Error("something was begun")
			}
		})
		t.Run("earliest", func(t *testing.T) {
			j := newInbox()
			start(t, c, group(), topic, j)
			eventually(t, "all", func() bool { return j.taken() == 50 })
		})
		t.Run("time", func(t *testing.T) {
			j := newInbox()
			start(t, c, group(), topic, j, func(c *consumer.Config) { c.Start = consumer.Start{Mode: consumer.StartTime, Time: at} })
			eventually(t, "the young", func() bool { return j.position(topic, 0)+j.position(topic, 1) == 50 })
			if j.taken() != 30 {
				t.Errorf("%d records", j.taken())
			}
		})
		t.Run("latest", func(t *testing.T) {
			j, g := newInbox(), group()
			r := start(t, c, g, topic, j, withStart(consumer.StartLatest))
			eventually(t, "a start", func() bool { ok, _ := r.Ready(); return ok })
			r.stop()
			// That it has begun is remembered: no start is needed any more.
			c.Produce(t, topic, many(50, 5))
			start(t, c, g, topic, j, withStart(consumer.StartUnset))
			eventually(t, "the new ones", func() bool { return j.taken() == 5 })
		})
	})
}

func testConsumerEmptyTopicNeedsNoStart(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 2), newInbox()
	start(t, c, group(), topic, j, withStart(consumer.StartUnset))
	eventually(t, "a beginning", func() bool { return len(j.begun()) == 2 })
	c.Produce(t, topic, many(0, 5))
	eventually(t, "the records", func() bool { return j.taken() == 5 })
}

func testConsumerEndsWithoutTopicOrBroker(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		r := start(t, c, group(), "never-made", newInbox(), func(c *consumer.Config) { c.TopicTimeout = time.Second })
		if err := r.ends(t, 15*time.Second); !errors.Is(err, consumer.ErrMissingTopic) {
			t.Fatalf("Run: %v", err)
		}
	})
	t.Run("unreachable", func(t *testing.T) {
		c := kafkatest.Embedded(t)
		_ = c.Close()
		r := start(t, c, group(), "in", newInbox(), func(c *consumer.Config) { c.ConnectTimeout = time.Second })
		if err := r.ends(t, 15*time.Second); !errors.Is(err, consumer.ErrUnreachable) {
			t.Fatalf("Run: %v", err)
		}
	})
}

func testConsumerWaitsForMissingTopic(t *testing.T) {
	c := kafkatest.Embedded(t)
	j := newInbox()
	r := start(t, c, group(), "late", j)
	eventually(t, "waiting", func() bool { _, word := r.Ready(); return strings.HasPrefix(word, "waiting for the input topics: ") })
	if err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: "late", NumPartitions: 1}); err != nil {
		t.Fatal(err)
	}
	c.Produce(t, "late", many(0, 3))
	eventually(t, "the records", func() bool { return j.taken() == 3 })
}

func testConsumerRefusesGroupAheadOfJournal(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g, j := c.NewTopic(t, "in", 1), group(), newInbox()
		c.Produce(t, topic, many(0, 10))
		r := start(t, c, g, topic, j)
		eventually(t, "the records", func() bool { return j.taken() == 10 })
		r.stop()
		restored := newInbox()
		restored.set(topic, 0, 4)
		r = start(t, c, g, topic, restored)
		if err := r.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrOffsetsAhead) {
			t.Fatalf("Run: %v", err)
		}
		if restored.taken() != 0 {
			t.Error("something was read")
		}
	})
}

func testConsumerRefusesPositionBeyondEnd(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, j := c.NewTopic(t, "in", 1), newInbox()
		c.Produce(t, topic, many(0, 3))
		j.set(topic, 0, 100)
		r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.TopicTimeout = time.Second })
		if err := r.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrTopicRecreated) {
			t.Fatalf("Run: %v", err)
		}
	})
}

func testConsumerReportsDeletedRecords(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	c.Produce(t, topic, many(0, 20))
	j.set(topic, 0, 5)
	if err := c.Fake().DeleteRecords(topic, 0, 12); err != nil {
		t.Fatal(err)
	}
	r := start(t, c, group(), topic, j)
	eventually(t, "the rest", func() bool { return j.taken() == 8 })
	if n := metrictest.Sum(t, r.registry, "invoicebox_worker_records_lost_total", "topic", topic); n != 7 {
		t.Errorf("lost: %v", n)
	}
}

func testConsumerRefusesGroupOfAnotherJournal(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g, j := c.NewTopic(t, "in", 2), group(), newInbox()
		c.Produce(t, topic, many(0, 10))
		r := start(t, c, g, topic, j)
		eventually(t, "the records", func() bool { return j.taken() == 10 })
		// A second worker with another journal.
		second := start(t, c, g, topic, func() *inbox {
			other := newInbox()
			other.set(topic, 0, 100_000)
			other.set(topic, 1, 100_000)
			return other
		}(), func(c *consumer.Config) { c.ForeignMemberTimeout = 2 * time.Second })
		if err := second.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrGroupInUse) {
			t.Fatalf("Run: %v", err)
		}
		// The first is not disturbed.
		c.Produce(t, topic, many(10, 10))
		eventually(t, "the later records", func() bool { return j.taken() == 20 })
		if n := metrictest.Sum(t, r.registry, "invoicebox_worker_consumer_generations_total"); n != 1 {
			t.Errorf("%v generations", n)
		}
	})
}

func testConsumerKeepsForeignClientsOut(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g := c.NewTopic(t, "in", 1), group()
		foreign, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{ID: g, Brokers: c.Brokers(), Topics: []string{topic}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = foreign.Close() }()
		eventually(t, "the foreign member", func() bool { _, err := foreign.Next(t.Context()); return err == nil })
		r := start(t, c, g, topic, newInbox(), func(c *consumer.Config) { c.ForeignMemberTimeout = 2 * time.Second })
		if err := r.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrGroupInUse) {
			t.Fatalf("Run: %v", err)
		}
	})
}

// Two members of one journal share the partitions; when one leaves, the other
// takes over, and every record is taken in once and in its partition's order.
func testConsumerSharesPartitionsBetweenMembers(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g, j := c.NewTopic(t, "in", 4), group(), newInbox()
		first := start(t, c, g, topic, j)
		c.Produce(t, topic, many(0, 200))
		eventually(t, "the records", func() bool { return j.taken() == 200 })
		second := start(t, c, g, topic, j)
		eventually(t, "a rebalance", func() bool {
			return metrictest.Sum(t, first.registry, "invoicebox_worker_consumer_generations_total") >= 2 && metrictest.Sum(t, second.registry, "invoicebox_worker_consumer_generations_total") >= 1
		})
		c.Produce(t, topic, many(200, 200))
		eventually(t, "the records of both", func() bool { return j.taken() == 400 })
		if n := metrictest.Sum(t, second.registry, "invoicebox_worker_records_total"); n == 0 {
			t.Error("the second reads nothing")
		}
		first.stop()
		c.Produce(t, topic, many(400, 200))
		eventually(t, "the records of the second", func() bool { return j.taken() == 600 })
		last := map[topicPartition]int64{}
		for _, b := range j.batches {
			at := topicPartition{b.Topic, b.Partition}
			if b.From != last[at] {
				t.Fatalf("batch of %v begins at %d, the one before ended at %d", at, b.From, last[at])
			}
			last[at] = b.Next
		}
	})
}

// While the journal fails nothing is skipped; when it works again all goes on.
func testConsumerRetriesWhileJournalFails(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, g, j := c.NewTopic(t, "in", 1), group(), newInbox()
	full := errors.New("disk full")
	j.setFail(func(journal.Batch) error { return full })
	r := start(t, c, g, topic, j)
	c.Produce(t, topic, many(0, 10))
	eventually(t, "failures", func() bool { return metrictest.Sum(t, r.registry, "invoicebox_worker_ingest_failures_total") >= 2 })
	if n := c.Committed(t, g, topic)[0]; n != 0 || j.position(topic, 0) != 0 {
		t.Fatalf("committed %d, position %d", n, j.position(topic, 0))
	}
	j.setFail(nil)
	eventually(t, "the records", func() bool { return j.taken() == 10 })
	// And one that fails while we stop holds nothing up.
	j.setFail(func(journal.Batch) error { return full })
	c.Produce(t, topic, many(10, 10))
	eventually(t, "more failures", func() bool { return metrictest.Sum(t, r.registry, "invoicebox_worker_ingest_failures_total") >= 4 })
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// Another worker has moved the journal: this one goes on from there.
func testConsumerResumesAtMovedPosition(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	start(t, c, group(), topic, j)
	c.Produce(t, topic, many(0, 5))
	eventually(t, "the records", func() bool { return j.taken() == 5 })
	j.setFail(func(b journal.Batch) error {
		if b.From == 5 {
			j.positions[topicPartition{topic, 0}] = 8 // the other took three
			return journal.ErrPosition
		}
		return nil
	})
	c.Produce(t, topic, many(5, 10))
	eventually(t, "the rest", func() bool { return j.position(topic, 0) == 15 })
	if j.taken() != 12 {
		t.Errorf("%d records", j.taken())
	}
}

func testConsumerFindsNewPartition(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	start(t, c, group(), topic, j, withStart(consumer.StartUnset), func(c *consumer.Config) { c.WatchInterval = 300 * time.Millisecond })
	eventually(t, "a beginning", func() bool { return len(j.begun()) == 1 })
	c.Produce(t, topic, many(0, 5))
	eventually(t, "the records", func() bool { return j.taken() == 5 })
	addPartitions(t, c, topic, 3)
	c.Produce(t, topic, many(5, 50))
	eventually(t, "the records of all", func() bool { return j.taken() == 55 })
}
