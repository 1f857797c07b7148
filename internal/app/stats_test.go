package app

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"invoicebox-worker/internal/journal"
)

type fakeStats struct {
	stats journal.Stats
	err   error
	read  func() // during a read, if it is set
}

func (f *fakeStats) Stats(context.Context) (journal.Stats, error) {
	if f.read != nil {
		f.read()
	}
	return f.stats, f.err
}

func TestStatsCollector(t *testing.T) {
	now := time.Unix(10_000, 0)
	fake := &fakeStats{stats: journal.Stats{
		Operations: map[journal.StatKey]int64{{Account: "default", Kind: journal.Invite, State: journal.Waiting}: 3},
		Attention:  map[string]int64{"outcome_unknown": 2}, OldestDue: map[journal.DueKey]time.Time{{Account: "a", Kind: journal.Invite}: now.Add(-7 * time.Second)}, OldestReceived: now.Add(-3 * time.Second), Outbox: 4, OldestOut: now.Add(time.Hour),
		DeadLetters: 5, Events: 6, Bytes: 7,
	}}
	c := newStatsCollector(fake)
	c.now = func() time.Time { return now }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	shows := func(want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	shows("") // nothing was read yet
	if err := c.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	shows(`
# HELP invoicebox_worker_attention Operations that wait for an operator's decision, by reason.
# TYPE invoicebox_worker_attention gauge
invoicebox_worker_attention{reason="outcome_unknown"} 2
# HELP invoicebox_worker_dead_letters Dead letters in the journal.
# TYPE invoicebox_worker_dead_letters gauge
invoicebox_worker_dead_letters 5
# HELP invoicebox_worker_inbox_events Events in the inbox.
# TYPE invoicebox_worker_inbox_events gauge
invoicebox_worker_inbox_events 6
# HELP invoicebox_worker_journal_bytes Size of the journal on disk.
# TYPE invoicebox_worker_journal_bytes gauge
invoicebox_worker_journal_bytes 7
# HELP invoicebox_worker_journal_statistics_age_seconds Time since the last successful read of the journal for the gauges of its content.
# TYPE invoicebox_worker_journal_statistics_age_seconds gauge
invoicebox_worker_journal_statistics_age_seconds 1
# HELP invoicebox_worker_journal_up 1 if the last read of the journal succeeded; otherwise 0, and the gauges of its content are absent.
# TYPE invoicebox_worker_journal_up gauge
invoicebox_worker_journal_up 1
# HELP invoicebox_worker_oldest_due_age_seconds Time since the oldest due operation became due, by account and kind; 0 if none is due.
# TYPE invoicebox_worker_oldest_due_age_seconds gauge
invoicebox_worker_oldest_due_age_seconds{account="a",kind="invite"} 8
# HELP invoicebox_worker_oldest_unstored_response_age_seconds Time since the oldest response of an activation was saved whose credentials are not stored yet; 0 if there is none.
# TYPE invoicebox_worker_oldest_unstored_response_age_seconds gauge
invoicebox_worker_oldest_unstored_response_age_seconds 4
# HELP invoicebox_worker_operations Operations that have not ended, by account, kind and state.
# TYPE invoicebox_worker_operations gauge
invoicebox_worker_operations{account="default",kind="invite",state="waiting"} 3
# HELP invoicebox_worker_outbox_events Events that wait to be published.
# TYPE invoicebox_worker_outbox_events gauge
invoicebox_worker_outbox_events 4
# HELP invoicebox_worker_outbox_oldest_age_seconds Age of the oldest event that waits to be published; 0 if none waits.
# TYPE invoicebox_worker_outbox_oldest_age_seconds gauge
invoicebox_worker_outbox_oldest_age_seconds 0
`)
	fake.err = errors.New("gone")
	if err := c.read(t.Context()); err == nil {
		t.Error("a failed read returns no error")
	}
	now = now.Add(time.Second)
	shows(`
# HELP invoicebox_worker_journal_statistics_age_seconds Time since the last successful read of the journal for the gauges of its content.
# TYPE invoicebox_worker_journal_statistics_age_seconds gauge
invoicebox_worker_journal_statistics_age_seconds 2
# HELP invoicebox_worker_journal_up 1 if the last read of the journal succeeded; otherwise 0, and the gauges of its content are absent.
# TYPE invoicebox_worker_journal_up gauge
invoicebox_worker_journal_up 0
`)
}

// A scrape ends while reads of the journal do not. Slow reads are made less often, and
// failed ones are repeated soon.
func TestStartGauges(t *testing.T) {
	for name, c := range map[string]struct {
		read time.Duration
		err  error
		want []time.Duration // when reads begin; the first is followed by one of the size, which lasts as long
	}{
		"Fast":      {0, nil, []time.Duration{0, 2 * time.Second, 4 * time.Second}},
		"Slow":      {time.Second, nil, []time.Duration{0, 52 * time.Second, 103 * time.Second}},
		"VerySlow":  {9 * time.Second, nil, []time.Duration{0, 78 * time.Second, 147 * time.Second}},
		"Failing":   {9 * time.Second, errors.New("gone"), []time.Duration{0, 20 * time.Second, 31 * time.Second}},
		"Unlimited": {1000 * time.Hour, nil, []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var begins []time.Duration
				wait := func() { <-time.After(c.read) }
				stats := newStatsCollector(&fakeStats{err: c.err, read: func() {
					begins = append(begins, time.Since(start))
					wait()
				}})
				o := Defaults()
				room := newCapacityMonitor(&o, &fakeRoom{read: wait}, quiet())
				room.now = func() time.Time { return start } // it is read once only
				registry := prometheus.NewPedanticRegistry()
				registry.MustRegister(stats)
				room.register(registry)
				ctx, cancel := context.WithCancel(t.Context())
				stop := startGauges(ctx, quiet(), stats, room)
				cancel() // the drain begins
				synctest.Wait()
				if _, err := registry.Gather(); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("a scrape waited for %s", took)
				}
				<-time.After(c.want[len(c.want)-1] + time.Second/2)
				if err := stop(); err != nil {
					t.Error(err)
				}
				if !slices.Equal(begins, c.want) {
					t.Errorf("reads began at %v, want %v", begins, c.want)
				}
			})
		})
	}
}
