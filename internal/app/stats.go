package app

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/journal"
)

const (
	statsFor    = time.Second     // how long a result is valid
	statsWithin = 2 * time.Second // how long a read of the journal may take
)

// A statsReader is the part of the journal that the gauges need.
type statsReader interface {
	Stats(ctx context.Context) (journal.Stats, error)
}

// A statsCollector reads the gauges of the journal when they are scraped. Several
// scrapers share one read.
type statsCollector struct {
	journal statsReader
	now     func() time.Time

	mu    sync.Mutex
	taken time.Time
	stats journal.Stats
	err   error

	up, operations, attention, oldestDue, oldestReceived, outbox, oldestOut, letters, events, bytes *prometheus.Desc
}

func newStatsCollector(j statsReader) *statsCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("invoicebox_worker_"+name, help, labels, nil)
	}
	return &statsCollector{
		journal: j, now: time.Now,
		up:             desc("journal_up", "1 if the journal could be read for this scrape; otherwise 0, and the gauges of its content are absent."),
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
	for _, d := range []*prometheus.Desc{c.up, c.operations, c.attention, c.oldestDue, c.oldestReceived, c.outbox, c.oldestOut, c.letters, c.events, c.bytes} {
		out <- d
	}
}

// look returns the figures, at most statsFor old.
func (c *statsCollector) look(ctx context.Context) (journal.Stats, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := c.now().Sub(c.taken); !c.taken.IsZero() && age >= 0 && age < statsFor {
		return c.stats, c.err
	}
	ctx, cancel := context.WithTimeout(ctx, statsWithin)
	defer cancel()
	c.stats, c.err = c.journal.Stats(ctx)
	c.taken = c.now()
	return c.stats, c.err
}

// Collect implements prometheus.Collector.
func (c *statsCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s, err := c.look(context.Background())
	if err != nil {
		gauge(c.up, 0)
		return
	}
	gauge(c.up, 1)
	for key, n := range s.Operations {
		gauge(c.operations, float64(n), key.Account, key.Kind.String(), key.State.String())
	}
	for reason, n := range s.Attention {
		gauge(c.attention, float64(n), reason)
	}
	for key, at := range s.OldestDue {
		gauge(c.oldestDue, c.age(at), key.Account, key.Kind.String())
	}
	gauge(c.oldestReceived, c.age(s.OldestReceived))
	gauge(c.outbox, float64(s.Outbox))
	gauge(c.oldestOut, c.age(s.OldestOut))
	gauge(c.letters, float64(s.DeadLetters))
	gauge(c.events, float64(s.Events))
	gauge(c.bytes, float64(s.Bytes))
}

// age is how long ago t was, 0 for no time and for a time in the future.
func (c *statsCollector) age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, c.now().Sub(t).Seconds())
}
