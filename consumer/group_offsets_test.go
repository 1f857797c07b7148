package consumer_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
)

func testConsumerRefusesLostJournal(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, g, j := c.NewTopic(t, "in", 2), group(), newInbox()
		c.Produce(t, topic, many(0, 10))
		r := start(t, c, g, topic, j)
		eventually(t, "the commits", func() bool {
			done := c.Committed(t, g, topic)
			return j.taken() == 10 && done[0] == j.position(topic, 0) && done[1] == j.position(topic, 1)
		})
		worker := r
		forgot := 0
		forget := func(c *consumer.Config) { c.OnJournalLost = func(context.Context) error { forgot++; return nil } }
		t.Run("ForgetsNothingBesideAWorker", func(t *testing.T) {
			r := start(t, c, g, topic, newInbox(), forget)
			if err := r.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrGroupInUse) {
				t.Fatalf("Run: %v", err)
			}
			if forgot != 0 {
				t.Error("something was forgotten")
			}
		})
		worker.stop()
		for name, s := range map[string]consumer.Start{
			"Unset": {}, "Earliest": {Mode: consumer.StartEarliest}, "Latest": {Mode: consumer.StartLatest},
			"Time": {Mode: consumer.StartTime, Time: time.Now().Add(time.Hour)},
		} {
			t.Run("IsRefusedWithStart"+name, func(t *testing.T) {
				lost := newInbox()
				r := start(t, c, g, topic, lost, func(c *consumer.Config) { c.Start, c.LostHint = s, "; or a hint" })
				err := r.ends(t, 20*time.Second)
				if !errors.Is(err, consumer.ErrJournalLost) || !strings.Contains(err.Error(), "journal recover") || !strings.HasSuffix(err.Error(), "; or a hint") {
					t.Fatalf("Run: %v", err)
				}
				if len(lost.begun()) != 0 {
					t.Error("something was begun")
				}
			})
		}
		t.Run("RecoversFromAGivenPlaceOnly", func(t *testing.T) {
			for mode, want := range map[consumer.StartMode]error{consumer.StartUnset: consumer.ErrRecoverStart, consumer.StartLatest: consumer.ErrRecoverStart, consumer.StartEarliest: nil} {
				if err := exclusive(t, c, g, topic, newInbox(), nil, func(ctx context.Context, a *consumer.ExclusiveSession) error {
					spans, _, err := a.InputRanges(ctx)
					if err == nil && (len(spans) != 2 || !spans[0].CommittedAhead || !spans[1].CommittedAhead) {
						t.Errorf("%+v", spans)
					}
					return err
				}, withStart(mode)); !errors.Is(err, want) {
					t.Errorf("mode %d: %v, want %v", mode, err, want)
				}
			}
		})
		t.Run("IsForgotten", func(t *testing.T) {
			fresh := newInbox()
			r := start(t, c, g, topic, fresh, func(c *consumer.Config) {
				c.OnJournalLost = func(context.Context) error {
					if forgot++; forgot == 1 {
						return errors.New("the journal fails")
					}
					if len(fresh.begun()) != 0 {
						t.Error("it began before the lost journal was forgotten")
					}
					return nil
				}
			})
			eventually(t, "all once more", func() bool { return fresh.taken() == 10 })
			r.stop()
			// The flag is not needed any more.
			c.Produce(t, topic, many(10, 5))
			start(t, c, g, topic, fresh, withStart(consumer.StartUnset))
			eventually(t, "the later ones", func() bool { return fresh.taken() == 15 })
		})
	})
}

// Prepare alone compares and begins, and joins no group.
func testConsumerPrepare(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 2), newInbox()
	c.Produce(t, topic, many(0, 10))
	config, _ := configure(t, c, group(), topic, j, withStart(consumer.StartLatest))
	own, err := consumer.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Prepare(t.Context()); err != nil || len(j.begun()) != 2 {
		t.Fatalf("%v; begun %v", err, j.begun())
	}
	c.Produce(t, topic, many(10, 5))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- own.Run(ctx) }()
	eventually(t, "what came after it", func() bool { return j.taken() == 5 })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// OnFirstRun is asked where nothing shows that the group or the journal was used before.
func testConsumerCallsOnFirstRun(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, g, j := c.NewTopic(t, "in", 2), group(), newInbox()
	c.Produce(t, topic, many(0, 10))
	asked := 0
	first := func(c *consumer.Config) {
		c.OnFirstRun = func(context.Context) error {
			if asked++; asked == 1 {
				return errors.New("the journal fails")
			}
			if len(j.begun()) != 0 {
				t.Error("it began before")
			}
			return nil
		}
	}
	r := start(t, c, g, topic, j, first)
	eventually(t, "the commits", func() bool {
		done := c.Committed(t, g, topic)
		return j.taken() == 10 && done[0] == j.position(topic, 0) && done[1] == j.position(topic, 1)
	})
	r.stop()
	r = start(t, c, g, topic, j, first)
	eventually(t, "ready", func() bool { ok, _ := r.Ready(); return ok })
	r.stop()
	r = start(t, c, g, topic, newInbox(), first)
	if err := r.ends(t, 20*time.Second); !errors.Is(err, consumer.ErrJournalLost) {
		t.Fatalf("Run: %v", err)
	}
	if asked != 2 {
		t.Errorf("asked %d times, want 2: one that failed, one that did not", asked)
	}
}

func TestHasRecords(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		empty, full := c.NewTopic(t, "empty", 2), c.NewTopic(t, "full", 2)
		c.Produce(t, full, many(0, 1))
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			topics []string
			want   bool
		}{{[]string{empty}, false}, {[]string{full}, true}, {[]string{empty, full}, true}} {
			if got, err := consumer.HasRecords(t.Context(), conn, x.topics); err != nil || got != x.want {
				t.Errorf("%v: %v %v", x.topics, got, err)
			}
		}
	})
}

func testExclusiveSessionTruncated(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, whole, cut, j := c.NewTopic(t, "in", 1), c.NewTopic(t, "whole", 1), c.NewTopic(t, "cut", 1), newInbox()
	for _, name := range []string{whole, cut} {
		c.Produce(t, name, many(0, 5))
	}
	if err := c.Fake().DeleteRecords(cut, 0, 5); err != nil {
		t.Fatal(err)
	}
	if err := exclusive(t, c, group(), topic, j, []string{whole, cut}, func(ctx context.Context, a *consumer.ExclusiveSession) error {
		for name, want := range map[string]bool{whole: false, cut: true} {
			if got, err := a.Truncated(ctx, name); err != nil || got != want {
				t.Errorf("%s: %v %v", name, got, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
