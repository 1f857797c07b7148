package engine

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

// fakePruneStore notes what it is asked, and has three pages of events.
type fakePruneStore struct {
	asked []journal.Prune
	at    []time.Time
	err   error
}

func (f *fakePruneStore) Prune(_ context.Context, p journal.Prune) (journal.Pruned, error) {
	f.asked, f.at = append(f.asked, p), append(f.at, time.Now())
	if f.err != nil {
		return journal.Pruned{}, f.err
	}
	if p.What == journal.PruneEvents && p.After < 20 {
		return journal.Pruned{Rows: 7, Next: p.After + 10}, nil
	}
	return journal.Pruned{Rows: 1}, nil
}

// kept is for how long each kind was asked to be kept, in the order of the asking.
func (f *fakePruneStore) kept() (list []string) {
	for _, p := range f.asked {
		list = append(list, p.What.String()+" "+p.Keep.String())
	}
	return slices.Compact(list)
}

func pruned(t *testing.T, c PrunerConfig, f *fakePruneStore, run time.Duration) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	c.Journal, c.Metrics = f, registry
	p, err := NewPruner(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), run)
	defer cancel()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return registry
}

func TestPruner_WhatIsOldIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, f := time.Now(), &fakePruneStore{}
		r := pruned(t, PrunerConfig{InputRetention: func(context.Context) (time.Duration, error) { return time.Hour, nil }}, f, 7*time.Hour)
		if want := []string{
			"responses 168h0m0s", "operations 720h0m0s", "attempts 720h0m0s", "events 720h0m0s", "results 720h0m0s", "intents 720h0m0s", "dead_letters 2160h0m0s",
		}; !slices.Equal(f.kept(), append(want, want...)) {
			t.Errorf("asked for %v", f.kept())
		}
		if first := f.at[0].Sub(began); first != firstPrune {
			t.Errorf("it begins after %v", first)
		}
		var events []int64
		worked := time.Duration(0)
		for i, p := range f.asked {
			if worked += p.Uptime; p.Limit != prunePage {
				t.Errorf("%d rows are looked at", p.Limit)
			}
			if p.What == journal.PruneEvents {
				events = append(events, p.After)
				if p.After > 0 && f.at[i].Sub(f.at[i-1]) != prunePause {
					t.Errorf("%v between two steps", f.at[i].Sub(f.at[i-1]))
				}
			}
		}
		if last := f.at[len(f.at)-1].Sub(began); worked != last {
			t.Errorf("worked for %v, said %v", last, worked)
		}
		if !slices.Equal(events, []int64{0, 10, 20, 0, 10, 20}) {
			t.Errorf("the pages are %v", events)
		}
		want := `
# HELP invoicebox_worker_prune_errors_total Pruning passes that failed.
# TYPE invoicebox_worker_prune_errors_total counter
invoicebox_worker_prune_errors_total 0
# HELP invoicebox_worker_inbox_retention_seconds Retention of the inbox; -1 while inbox rows are not pruned.
# TYPE invoicebox_worker_inbox_retention_seconds gauge
invoicebox_worker_inbox_retention_seconds 2.592e+06
# HELP invoicebox_worker_pruned_rows_total Old rows, and responses, that were deleted from the journal, by kind.
# TYPE invoicebox_worker_pruned_rows_total counter
invoicebox_worker_pruned_rows_total{kind="attempts"} 2
invoicebox_worker_pruned_rows_total{kind="dead_letters"} 2
invoicebox_worker_pruned_rows_total{kind="events"} 30
invoicebox_worker_pruned_rows_total{kind="intents"} 2
invoicebox_worker_pruned_rows_total{kind="operations"} 2
invoicebox_worker_pruned_rows_total{kind="responses"} 2
invoicebox_worker_pruned_rows_total{kind="results"} 2
`
		if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
	})
}

// The inbox is kept as long as an event can be read again.
func TestPruner_InboxIsKeptAsLongAsTheInputs(t *testing.T) {
	gone := errors.New("nobody answers")
	for name, c := range map[string]struct {
		keep   time.Duration
		inputs time.Duration
		err    error
		want   string // how the inbox is kept; "" when nothing of it is forgotten
		others string
	}{
		"shorter":   {100 * time.Hour, 50 * time.Hour, nil, "100h0m0s", "100h0m0s"},
		"longer":    {100 * time.Hour, 200 * time.Hour, nil, "200h0m0s", "100h0m0s"},
		"for ever":  {100 * time.Hour, -1, nil, "", "100h0m0s"},
		"not known": {100 * time.Hour, 0, gone, "", "100h0m0s"},
		"all":       {RetainForever, 50 * time.Hour, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakePruneStore{}
				pruned(t, PrunerConfig{
					Retention: c.keep, DeadLetterRetention: RetainForever,
					InputRetention: func(context.Context) (time.Duration, error) { return c.inputs, c.err },
				}, f, time.Hour)
				var want []string
				for _, what := range journal.PruneTargets() {
					keep := c.others
					switch what {
					case journal.PruneResponses:
						keep = ResponseRetention.String()
					case journal.PruneEvents:
						keep = c.want
					case journal.PruneDeadLetters:
						keep = ""
					}
					if keep != "" {
						want = append(want, what.String()+" "+keep)
					}
				}
				if got := f.kept(); !slices.Equal(got, want) {
					t.Errorf("asked for %v, want %v", got, want)
				}
			})
		})
	}
}

// A journal that fails is asked again at the next pass, and is told then for how
// long it was worked since it last listened.
func TestPruner_ForgettingGoesOnAfterAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePruneStore{err: journal.ErrDisk}
		r := pruned(t, PrunerConfig{}, f, 7*time.Hour)
		if len(f.asked) != 2 || f.asked[1].Uptime != firstPrune+pruneEvery {
			t.Errorf("asked for %+v", f.asked)
		}
		want := `
# HELP invoicebox_worker_prune_errors_total Pruning passes that failed.
# TYPE invoicebox_worker_prune_errors_total counter
invoicebox_worker_prune_errors_total 2
`
		if err := testutil.GatherAndCompare(r, strings.NewReader(want), "invoicebox_worker_prune_errors_total"); err != nil {
			t.Error(err)
		}
	})
}

func TestPruner_Settings(t *testing.T) {
	for _, c := range []PrunerConfig{{Retention: time.Hour}, {DeadLetterRetention: 71 * time.Hour}, {Retention: -2}} {
		if _, err := NewPruner(c); err == nil || !strings.Contains(err.Error(), "-retention is ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
