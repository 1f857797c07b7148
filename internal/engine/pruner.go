package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/journal"
)

// How long rows are retained that nothing needs any more.
const (
	DefaultRetention           = 30 * 24 * time.Hour // the inbox, and what the work leaves behind
	DefaultDeadLetterRetention = 90 * 24 * time.Hour // dead letters can be replayed
	// RetainForever takes the place of either.
	RetainForever = time.Duration(-1)

	// ResponseRetention is how long a response is retained after its credentials were
	// found to work. By then no response of an earlier request can arrive that would
	// have to be compared with it.
	ResponseRetention = 7 * 24 * time.Hour

	// MinRetention is the least for either; it is longer than any permit counts and any request lingers.
	MinRetention = 72 * time.Hour
)

const (
	firstPrune = 10 * time.Minute      // after the start: urgent work goes first
	pruneEvery = 6 * time.Hour         // from the end of a pass to the next one
	prunePage  = 100                   // rows that one transaction reads
	prunePause = 10 * time.Millisecond // between two transactions, for other writers
)

// A pruneStore deletes old rows; see journal.Journal.
type pruneStore interface {
	Prune(ctx context.Context, p journal.Prune) (journal.Pruned, error)
}

// PrunerConfig configures [NewPruner].
type PrunerConfig struct {
	Journal pruneStore
	// Retention is how long the inbox, and all other rows except dead letters, are
	// retained; at least 72 h. 0: DefaultRetention. DeadLetterRetention is the same for
	// dead letters; 0: DefaultDeadLetterRetention.
	Retention, DeadLetterRetention time.Duration
	// InputRetention returns for how long a record of the input topics can be read
	// again, negative without a limit. The inbox is retained at least as long, and not
	// pruned while that is unknown. Nil: no longer than Retention.
	InputRetention func(ctx context.Context) (time.Duration, error)
	Metrics        prometheus.Registerer // nil: none
	Logger         *slog.Logger          // nil: none
}

// A Pruner deletes old rows: some minutes after the start and every few hours, in small
// steps that do not delay responses and ingest.
type Pruner struct {
	c           PrunerConfig
	log         *slog.Logger
	scheduler   scheduler
	rows        *prometheus.CounterVec
	failed      prometheus.Counter
	retention   prometheus.Gauge
	workedSince time.Time // since when uptime was not reported to the journal
}

// NewPruner checks the configuration and makes a pruner.
func NewPruner(c PrunerConfig) (*Pruner, error) {
	setDefault(&c.Retention, DefaultRetention)
	setDefault(&c.DeadLetterRetention, DefaultDeadLetterRetention)
	for _, d := range []struct {
		setting string
		value   time.Duration
	}{{"inbox-retention", c.Retention}, {"dead-letter-retention", c.DeadLetterRetention}} {
		if d.value != RetainForever && d.value < MinRetention {
			return nil, fmt.Errorf("engine: %s is %v: 0s to keep everything, or at least %v", d.setting, d.value, MinRetention)
		}
	}
	const space = "invoicebox_worker"
	p := &Pruner{
		c: c, log: c.Logger, scheduler: realScheduler{},
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "pruned_rows_total", Help: "Old rows, and responses, that were deleted from the journal, by kind.",
		}, []string{"kind"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: space, Name: "prune_errors_total", Help: "Pruning passes that failed.",
		}),
		retention: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: space, Name: "inbox_retention_seconds", Help: "Retention of the inbox; -1 while inbox rows are not pruned.",
		}),
	}
	for _, what := range journal.PruneTargets() {
		p.rows.WithLabelValues(what.String())
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(p.rows, p.failed, p.retention)
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p, nil
}

// Run prunes until ctx ends; it returns nil. It may be called once.
func (p *Pruner) Run(ctx context.Context) error {
	p.workedSince = time.Now()
	for wait := firstPrune; p.scheduler.sleep(ctx, wait); wait = pruneEvery {
		rows, err := p.pass(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, journal.ErrClosed):
		case err != nil:
			p.failed.Inc()
			p.log.Warn("cannot prune old rows; trying again later", "err", err)
		case rows > 0:
			p.log.Info("pruned old rows", "rows", rows)
		}
	}
	return nil
}

// pass prunes all kinds of rows once.
func (p *Pruner) pass(ctx context.Context) (rows int, err error) {
	inbox := p.inboxRetention(ctx)
	p.retention.Set(max(inbox.Seconds(), -1))
	for _, what := range journal.PruneTargets() {
		keep := p.c.Retention
		switch what {
		case journal.PruneResponses:
			keep = ResponseRetention
		case journal.PruneEvents:
			keep = inbox
		case journal.PruneDeadLetters:
			keep = p.c.DeadLetterRetention
		}
		if keep < 0 {
			continue
		}
		n, err := p.prune(ctx, what, keep)
		rows += n
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// prune prunes all rows of a kind. The first step of a pass reports the uptime to the
// journal.
func (p *Pruner) prune(ctx context.Context, what journal.PruneTarget, keep time.Duration) (rows int, err error) {
	for after := int64(0); ; {
		now := time.Now()
		got, err := p.c.Journal.Prune(ctx, journal.Prune{What: what, Keep: keep, After: after, Limit: prunePage, Uptime: now.Sub(p.workedSince)})
		if err != nil {
			return rows, err
		}
		p.workedSince = now
		rows += got.Rows
		p.rows.WithLabelValues(what.String()).Add(float64(got.Rows))
		after = got.Next
		if after == 0 || !p.scheduler.sleep(ctx, prunePause) {
			return rows, nil
		}
	}
}

// inboxRetention is how long the inbox is retained: an event that can be read again
// must be recognized as a repeat.
func (p *Pruner) inboxRetention(ctx context.Context) time.Duration {
	if p.c.Retention < 0 || p.c.InputRetention == nil {
		return p.c.Retention
	}
	topics, err := p.c.InputRetention(ctx)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			p.log.Warn("cannot read the retention of the input topics; the inbox is not pruned", "err", err)
		}
		return RetainForever
	case topics < 0:
		p.log.Info("an input topic keeps its records forever; the inbox is not pruned")
		return RetainForever
	case topics > p.c.Retention:
		p.log.Info("the input topics keep their records longer than --inbox-retention; the inbox is kept as long", "kept", topics)
	}
	return max(topics, p.c.Retention)
}
