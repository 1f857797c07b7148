package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

const (
	resealPage  = 200              // values that one transaction replaces
	resealShare = 3                // a pause is this many times as long as the step before it
	resealPause = time.Millisecond // minimum pause
	resealEvery = 10 * time.Minute // from the end of a pass to the next one
	resealLater = 30 * time.Second // when another replica seals
)

// A resealStore holds sealed values; see journal.Journal.
type resealStore interface {
	UsedKeys(ctx context.Context) ([]journal.Key, error)
	Reseal(ctx context.Context, r journal.Reseal, seal journal.Sealer) (journal.Resealed, error)
}

// ResealerConfig configures [NewResealer].
type ResealerConfig struct {
	Journal resealStore
	// Keys is the keyset, bound to the journal; Unbound is the same keyset without the
	// binding.
	Keys, Unbound *keyset.Set
	Metrics       prometheus.Registerer // nil: none
	Logger        *slog.Logger          // nil: none
}

// A Resealer reseals values of older keys with the primary key, so that the older keys
// can be dropped. It works in small steps, at most a quarter of the time, so that it
// does not delay other writers. It stores no progress: a value that names the primary
// key is done.
type Resealer struct {
	c          ResealerConfig
	log        *slog.Logger
	rows       *prometheus.CounterVec
	unreadable *prometheus.GaugeVec
	wake       chan struct{}
}

// NewResealer makes a resealer.
func NewResealer(c ResealerConfig) *Resealer {
	const space = "invoicebox_worker"
	r := &Resealer{
		c: c, log: c.Logger, wake: make(chan struct{}, 1),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "resealed_values_total", Help: "Values that were sealed again with the primary key, by column.",
		}, []string{"column"}),
		unreadable: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "unreadable_values", Help: "Values that the last pass could not seal again, because they cannot be decrypted, by column.",
		}, []string{"column"}),
	}
	for _, column := range journal.SealedColumns() {
		r.rows.WithLabelValues(column.Name())
		r.unreadable.WithLabelValues(column.Name())
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(r.rows, r.unreadable)
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r
}

// KeysChanged makes the next pass begin at once.
func (r *Resealer) KeysChanged() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run reseals until ctx ends; it returns nil. It may be called once.
func (r *Resealer) Run(ctx context.Context) error {
	for {
		rows, err := r.pass(ctx)
		if ctx.Err() != nil || errors.Is(err, journal.ErrClosed) {
			return nil //nolint:nilerr // ctx has ended
		}
		wait := resealEvery
		switch {
		case errors.Is(err, journal.ErrStale):
			wait = resealLater
		case err != nil:
			r.log.Warn("cannot seal values with the primary key; trying again later", "err", err)
			wait = resealLater
		case rows > 0:
			r.log.Info("sealed values with the primary key", "values", rows)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pass reseals all values once, if some may be sealed with another key.
func (r *Resealer) pass(ctx context.Context) (rows int, err error) {
	primary, _ := r.c.Keys.PrimaryKeys()
	used, err := r.c.Journal.UsedKeys(ctx)
	if err != nil {
		return 0, err
	}
	others := false
	for _, k := range used {
		others = others || k.Purpose == journal.KeySealing && k.ID != uint32(primary)
	}
	if !others {
		return 0, nil
	}
	for _, column := range journal.SealedColumns() {
		n, err := r.column(ctx, column, uint32(primary))
		rows += n
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// column reseals all values of a column.
func (r *Resealer) column(ctx context.Context, column journal.SealedColumn, key uint32) (rows int, err error) {
	keys := r.c.Keys
	if column == journal.SealedCheck {
		keys = r.c.Unbound
	}
	again := func(row string, sealed []byte) ([]byte, error) {
		text, err := keys.Open(sealed, row)
		if err != nil {
			return nil, err
		}
		defer clear(text)
		return keys.Seal(text, row)
	}
	unreadable := 0
	for after := (journal.SealedID{}); ; {
		began := time.Now()
		got, err := r.c.Journal.Reseal(ctx, journal.Reseal{Column: column, Key: key, After: after, Limit: resealPage}, again)
		if err != nil {
			return rows, err
		}
		rows, unreadable = rows+got.Rows, unreadable+got.Unreadable
		r.rows.WithLabelValues(column.Name()).Add(float64(got.Rows))
		if after = got.Next; after == (journal.SealedID{}) {
			break
		}
		if !sleep(ctx, max(resealPause, resealShare*time.Since(began))) {
			return rows, ctx.Err()
		}
	}
	r.unreadable.WithLabelValues(column.Name()).Set(float64(unreadable))
	if unreadable > 0 {
		r.log.Error("values cannot be decrypted and stay sealed with an older key", "column", column.Name(), "values", unreadable)
	}
	return rows, nil
}
