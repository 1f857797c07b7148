package app

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/journal"
)

const (
	minStatsPause = 2 * time.Second // the least time between two reads of the journal
	// statsPauseFactor bounds the cost of the reads: the pause after a read is this many times as
	// long as the read, up to maxStatsPause.
	statsPauseFactor = 50
	maxStatsPause    = time.Minute
	statsTimeout     = 10 * time.Second // how long a read may take
)

// A statsReader is the part of the journal that the gauges need.
type statsReader interface {
	Stats(ctx context.Context) (journal.Stats, error)
}

// A statsCollector shows what the last read of the journal found. A scrape never waits for
// the journal: a read costs more the more operations are open.
type statsCollector struct {
	journal statsReader
	now     func() time.Time
	last    atomic.Pointer[statsReading]

	up, age, operations, attention, oldestDue, oldestReceived, outbox, oldestOut, letters, events, bytes *prometheus.Desc
}

// A statsReading is the result of the last read of the journal.
type statsReading struct {
	stats  journal.Stats       // of the last read; empty if that failed
	counts []prometheus.Metric // of its operations: made once for all scrapes
	at     time.Time           // when the last read that succeeded began; zero if there was none
	err    error               // of the last read
}

func newStatsCollector(j statsReader) *statsCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("invoicebox_worker_"+name, help, labels, nil)
	}
	return &statsCollector{
		journal: j, now: time.Now,
		up:             desc("journal_up", "1 if the last read of the journal succeeded; otherwise 0, and the gauges of its content are absent."),
		age:            desc("journal_statistics_age_seconds", "Time since the last successful read of the journal for the gauges of its content."),
		operations:     desc("operations", "Operations that have not ended, by account, kind and state.", "account", "kind", "state"),
		attention:      desc("attention", "Operations that wait for an operator's decision, by reason.", "reason"),
		oldestDue:      desc("oldest_due_age_seconds", "Time since the oldest due operation became due, by account and kind; 0 if none is due.", "account", "kind"),
		oldestReceived: desc("oldest_unstored_response_age_seconds", "Time since the oldest response of an activation was saved whose credentials are not stored yet; 0 if there is none."),
		outbox:         desc("outbox_events", "Events that wait to be published."),
		oldestOut:      desc("outbox_oldest_age_seconds", "Age of the oldest event that waits to be published; 0 if none waits."),
		letters:        desc("dead_letters", "Dead letters in the journal."),
		events:         desc("inbox_events", "Events in the inbox."),
		bytes:          desc("journal_bytes", "Size of the journal on disk."),
	}
}

// Describe implements prometheus.Collector.
func (c *statsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.age, c.operations, c.attention, c.oldestDue, c.oldestReceived, c.outbox, c.oldestOut, c.letters, c.events, c.bytes} {
		out <- d
	}
}

// read reads the journal once.
func (c *statsCollector) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	next := statsReading{at: c.now()}
	if next.stats, next.err = c.journal.Stats(ctx); next.err != nil {
		next.stats, next.at = journal.Stats{}, time.Time{}
		if last := c.last.Load(); last != nil {
			next.at = last.at
		}
	}
	for key, n := range next.stats.Operations {
		next.counts = append(next.counts, gauge(c.operations, float64(n), key.Account, key.Kind.String(), key.State.String()))
	}
	c.last.Store(&next)
	return next.err
}

// startGauges reads the journal repeatedly for the gauges of its content and size. The
// returned function stops that. It does not end with ctx, so that the gauges are read
// during the drain too.
func startGauges(ctx context.Context, log *slog.Logger, stats *statsCollector, room *capacityMonitor) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		ended <- runComponent(ctx, log, "gauges", func(ctx context.Context) error {
			for {
				began, pause := time.Now(), minStatsPause
				if err := stats.read(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
					pause = min(max(minStatsPause, statsPauseFactor*time.Since(began)), maxStatsPause)
				}
				_, _ = room.ready()
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(pause):
				}
			}
		})
	}()
	return func() error {
		cancel()
		return <-ended
	}
}

// Collect implements prometheus.Collector.
func (c *statsCollector) Collect(out chan<- prometheus.Metric) {
	last := c.last.Load()
	if last == nil {
		return // the first read has not ended
	}
	if !last.at.IsZero() {
		out <- gauge(c.age, c.since(last.at))
	}
	if last.err != nil {
		out <- gauge(c.up, 0)
		return
	}
	out <- gauge(c.up, 1)
	s := last.stats
	for _, m := range last.counts {
		out <- m
	}
	for reason, n := range s.Attention {
		out <- gauge(c.attention, float64(n), reason)
	}
	for key, at := range s.OldestDue {
		out <- gauge(c.oldestDue, c.since(at), key.Account, key.Kind.String())
	}
	out <- gauge(c.oldestReceived, c.since(s.OldestReceived))
	out <- gauge(c.outbox, float64(s.Outbox))
	out <- gauge(c.oldestOut, c.since(s.OldestOut))
	out <- gauge(c.letters, float64(s.DeadLetters))
	out <- gauge(c.events, float64(s.Events))
	out <- gauge(c.bytes, float64(s.Bytes))
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// since is how long ago t was, 0 for no time and for a time in the future.
func (c *statsCollector) since(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, c.now().Sub(t).Seconds())
}
