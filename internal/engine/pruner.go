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

// How long things are kept that nothing needs any more.
const (
	DefaultKeep            = 30 * 24 * time.Hour // the inbox, and what the work leaves behind
	DefaultKeepDeadLetters = 90 * 24 * time.Hour // dead letters can be replayed
	// KeepForEver takes the place of either.
	KeepForEver = time.Duration(-1)

	// ShortestKeep is the least for either; it is longer than any permit counts and any request lingers.
	ShortestKeep = 72 * time.Hour
)

const (
	pruneFirst = 10 * time.Minute      // after the start: what is urgent then goes first
	pruneEvery = 6 * time.Hour         // from the end of a pass to the next one
	prunePage  = 100                   // rows that one transaction looks at
	pruneRest  = 10 * time.Millisecond // between two, for others to write
)

// A Forgetter forgets what is old; see journal.Journal.
type Forgetter interface {
	Prune(ctx context.Context, p journal.Prune) (journal.Pruned, error)
}

// PrunerConfig configures [NewPruner].
type PrunerConfig struct {
	Journal Forgetter
	// Keep is for how long the inbox and all else but dead letters is kept; at
	// least 72 h. 0: DefaultKeep. KeepDeadLetters, for those: DefaultKeepDeadLetters.
	Keep, KeepDeadLetters time.Duration
	// InputsKept tells for how long a record of the input topics can be read again,
	// negative for ever. The inbox is kept that long at least, and all of it
	// while nobody can tell. Nil: no longer than Keep.
	InputsKept func(ctx context.Context) (time.Duration, error)
	Metrics    prometheus.Registerer // nil: none
	Logger     *slog.Logger          // nil: none
}

// A Pruner forgets what is old: some minutes after the start and every few
// hours, in steps so small that receipts and intake do not notice.
type Pruner struct {
	c      PrunerConfig
	log    *slog.Logger
	rows   *prometheus.CounterVec
	failed prometheus.Counter
	kept   prometheus.Gauge
	began  time.Time // since when work has not been told to the journal
}

// NewPruner checks the configuration and makes a pruner.
func NewPruner(c PrunerConfig) (*Pruner, error) {
	setDefault(&c.Keep, DefaultKeep)
	setDefault(&c.KeepDeadLetters, DefaultKeepDeadLetters)
	for _, d := range []struct {
		setting string
		value   time.Duration
	}{{"inbox-retention", c.Keep}, {"dead-letter-retention", c.KeepDeadLetters}} {
		if d.value != KeepForEver && d.value < ShortestKeep {
			return nil, fmt.Errorf("onboarding: %s is %v: 0s to keep everything, or at least %v", d.setting, d.value, ShortestKeep)
		}
	}
	const space = "invoicebox_worker"
	p := &Pruner{
		c: c, log: c.Logger,
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "pruned_rows_total", Help: "Old rows that were deleted from the journal, by kind.",
		}, []string{"kind"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: space, Name: "prune_errors_total", Help: "Pruning passes that failed.",
		}),
		kept: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: space, Name: "inbox_retention_seconds", Help: "Retention of the inbox; -1 while inbox rows are not pruned.",
		}),
	}
	for _, what := range journal.Forgettables() {
		p.rows.WithLabelValues(what.String())
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(p.rows, p.failed, p.kept)
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p, nil
}

// Run forgets until ctx ends; it returns nil. It may be called once.
func (p *Pruner) Run(ctx context.Context) error {
	p.began = time.Now()
	for wait := pruneFirst; sleep(ctx, wait); wait = pruneEvery {
		rows, err := p.pass(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, journal.ErrClosed):
		case err != nil:
			p.failed.Inc()
			p.log.Warn("what is old could not be forgotten; tried again later", "err", err)
		case rows > 0:
			p.log.Info("forgot what was old", "rows", rows)
		}
	}
	return nil
}

// pass looks at everything once.
func (p *Pruner) pass(ctx context.Context) (rows int, err error) {
	inbox := p.inbox(ctx)
	p.kept.Set(max(inbox.Seconds(), -1))
	for _, what := range journal.Forgettables() {
		keep := p.c.Keep
		switch what {
		case journal.ForgetEvents:
			keep = inbox
		case journal.ForgetDeadLetters:
			keep = p.c.KeepDeadLetters
		}
		if keep < 0 {
			continue
		}
		n, err := p.forget(ctx, what, keep)
		rows += n
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// forget looks at all rows of a kind. The first step of a pass tells the journal
// for how long it was worked, once it has taken it.
func (p *Pruner) forget(ctx context.Context, what journal.Forgettable, keep time.Duration) (rows int, err error) {
	for after := int64(0); ; {
		now := time.Now()
		got, err := p.c.Journal.Prune(ctx, journal.Prune{What: what, Keep: keep, After: after, Limit: prunePage, Worked: now.Sub(p.began)})
		if err != nil {
			return rows, err
		}
		p.began = now
		rows += got.Rows
		p.rows.WithLabelValues(what.String()).Add(float64(got.Rows))
		after = got.Next
		if after == 0 || !sleep(ctx, pruneRest) {
			return rows, nil
		}
	}
}

// inbox is for how long the inbox is kept: an event that can be read again must
// be known again.
func (p *Pruner) inbox(ctx context.Context) time.Duration {
	if p.c.Keep < 0 || p.c.InputsKept == nil {
		return p.c.Keep
	}
	topics, err := p.c.InputsKept(ctx)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			p.log.Warn("it cannot be seen how long the input topics keep their records: nothing of the inbox is forgotten", "err", err)
		}
		return KeepForEver
	case topics < 0:
		p.log.Info("an input topic keeps its records for ever: nothing of the inbox is forgotten")
		return KeepForEver
	case topics > p.c.Keep:
		p.log.Info("the input topics keep their records for longer than --inbox-retention: the inbox is kept as long", "kept", topics)
	}
	return max(topics, p.c.Keep)
}
