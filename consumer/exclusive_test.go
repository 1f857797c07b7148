package consumer_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// exclusive runs work as a recovery does.
func exclusive(t *testing.T, c *kafkatest.Cluster, group, topic string, j consumer.Inbox, more []string, work func(context.Context, *consumer.ExclusiveSession) error, options ...option) error {
	t.Helper()
	config, _ := configure(t, c, group, topic, j, options...)
	own, err := consumer.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	return own.RunExclusive(ctx, more, work)
}

func TestExclusiveSession(t *testing.T) {
	t.Run("Truncated", testExclusiveSessionTruncated)
	t.Run("Replays", testExclusiveSessionReplays)
	t.Run("ReplaysRecreatedTopic", testExclusiveSessionReplaysRecreatedTopic)
	t.Run("ReportsLostRecords", testExclusiveSessionReportsLostRecords)
}

// An older journal reads again what lies between it and the ends, and the
// group's offsets follow; after that a worker goes on.
func testExclusiveSessionReplays(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, results, g, j := c.NewTopic(t, "in", 2), c.NewTopic(t, "out", 2), group(), newInbox()
		c.Produce(t, topic, many(0, 40))
		c.Produce(t, results, many(0, 30))
		r := start(t, c, g, topic, j)
		eventually(t, "the records", func() bool { return j.taken() == 40 })
		eventually(t, "the commits", func() bool {
			done := c.Committed(t, g, topic)
			return done[0] == j.position(topic, 0) && done[1] == j.position(topic, 1)
		})
		// Nobody is alone beside a worker.
		if err := exclusive(t, c, g, topic, newInbox(), nil, func(context.Context, *consumer.ExclusiveSession) error { return nil },
			func(c *consumer.Config) { c.ForeignMemberTimeout = time.Second }); !errors.Is(err, consumer.ErrGroupInUse) {
			t.Fatalf("beside a worker: %v", err)
		}
		r.stop()
		c.Produce(t, topic, many(40, 10))
		restored := newInbox()
		restored.set(topic, 0, 3)
		restored.set(topic, 1, 4)
		var scanned []schemas.Message
		if err := exclusive(t, c, g, topic, restored, []string{results}, func(ctx context.Context, a *consumer.ExclusiveSession) error {
			spans, lost, err := a.InputRanges(ctx)
			if err != nil {
				return err
			}
			if len(spans) != 2 || len(lost) != 0 || !spans[0].CommittedAhead || spans[0].TopicRecreated || spans[0].From != 3 || spans[1].From != 4 || spans[0].To+spans[1].To != 50 {
				t.Errorf("to be read again: %+v, lost %+v", spans, lost)
			}
			if gone, err := a.Scan(ctx, results, map[int]int64{0: 5}, func(ms []schemas.Message) error {
				scanned = append(scanned, ms...)
				return nil
			}); err != nil || len(gone) != 0 {
				t.Errorf("scanned: %v, lost %v", err, gone)
			}
			return a.Replay(ctx, spans)
		}); err != nil {
			t.Fatal(err)
		}
		if len(scanned) != 25 || restored.taken() != 43 {
			t.Errorf("%d records were scanned, %d read again; want 25 and 43", len(scanned), restored.taken())
		}
		done := c.Committed(t, g, topic)
		if done[0] != restored.position(topic, 0) || done[1] != restored.position(topic, 1) {
			t.Errorf("the group stands at %v, the journal at %d and %d", done, restored.position(topic, 0), restored.position(topic, 1))
		}
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		older := newInbox()
		older.set(topic, 0, 3)
		older.set(topic, 1, 4)
		for name, x := range map[string]struct {
			group string
			j     *inbox
			want  error
		}{
			"the journal":    {g, restored, nil},
			"an older one":   {g, older, consumer.ErrOffsetsAhead},
			"a new one":      {g, newInbox(), consumer.ErrJournalLost},
			"a new group":    {group(), newInbox(), nil},
			"a group for it": {group(), older, nil},
		} {
			if err := consumer.CheckGroup(t.Context(), conn, x.group, []string{topic}, consumer.Start{Mode: consumer.StartEarliest}, x.j.Positions); !errors.Is(err, x.want) {
				t.Errorf("%s: %v, want %v", name, err, x.want)
			}
		}
		start(t, c, g, topic, restored)
		c.Produce(t, topic, many(50, 5))
		eventually(t, "the worker goes on", func() bool { return restored.taken() == 48 })
	})
}

// A topic that was created again is read from its beginning.
func testExclusiveSessionReplaysRecreatedTopic(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, j := c.NewTopic(t, "in", 1), newInbox()
		c.Produce(t, topic, many(0, 10))
		j.set(topic, 0, 40)
		if err := exclusive(t, c, group(), topic, j, nil, func(ctx context.Context, a *consumer.ExclusiveSession) error {
			spans, lost, err := a.InputRanges(ctx)
			if err != nil || len(lost) != 0 || len(spans) != 1 || !spans[0].TopicRecreated || spans[0].From != 0 || spans[0].To != 10 {
				t.Errorf("%+v %+v %v", spans, lost, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// What is not there any more is told before anything is read.
func testExclusiveSessionReportsLostRecords(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, results, j := c.NewTopic(t, "in", 1), c.NewTopic(t, "out", 1), newInbox()
	for _, name := range []string{topic, results} {
		c.Produce(t, name, many(0, 20))
		if err := c.Fake().DeleteRecords(name, 0, 12); err != nil {
			t.Fatal(err)
		}
	}
	j.set(topic, 0, 5)
	if err := exclusive(t, c, group(), topic, j, []string{results}, func(ctx context.Context, a *consumer.ExclusiveSession) error {
		_, lost, err := a.InputRanges(ctx)
		if want := []consumer.OffsetRange{{Topic: topic, From: 5, To: 12}}; err != nil || !slices.Equal(lost, want) {
			t.Errorf("lost of the inputs: %+v %v", lost, err)
		}
		seen := 0
		lost, err = a.Scan(ctx, results, map[int]int64{0: 9}, func(ms []schemas.Message) error {
			seen += len(ms)
			return nil
		})
		if want := []consumer.OffsetRange{{Topic: results, From: 9, To: 12}}; err != nil || !slices.Equal(lost, want) || seen != 8 {
			t.Errorf("lost of the results: %+v %v, %d seen", lost, err, seen)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
