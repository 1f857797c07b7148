package app

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/credentials/endpoint"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/golden"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/producer"
)

// docs/metrics.md shows the metrics that the worker registers.
func TestMetricsPage(t *testing.T) {
	for _, c := range []struct {
		heading  string
		register func(r prometheus.Registerer)
	}{
		{"## Consumer", func(r prometheus.Registerer) { consumer.NewMetrics(r) }},
		{"## Calls and operations", func(r prometheus.Registerer) { engine.NewMetrics(r) }},
		{"## Relay", func(r prometheus.Registerer) { producer.NewMetrics(r) }},
		{"## Journal", func(r prometheus.Registerer) {
			stats := newStatsCollector(&fakeStats{stats: journal.Stats{OldestDue: map[journal.DueKey]time.Time{{Account: "default", Kind: journal.Invite}: {}},
				Operations: map[journal.StatKey]int64{{}: 1}, Attention: map[string]int64{"": 1},
			}})
			readOnce(t, stats)
			r.MustRegister(stats)
			o := Defaults()
			keeper := newCapacityMonitor(&o, nil, slog.New(slog.DiscardHandler))
			keeper.journal = &fakeRoom{}
			keeper.register(r)
			if _, err := engine.NewPruner(engine.PrunerConfig{Metrics: r}); err != nil {
				t.Error(err)
			}
			engine.NewResealer(engine.ResealerConfig{Metrics: r})
		}},
		{"## Credential store", func(r prometheus.Registerer) { openbao.NewMetrics(r) }},
		{"## Credentials endpoint", func(r prometheus.Registerer) { endpoint.NewMetrics(r) }},
		{"## Traces", func(r prometheus.Registerer) { tracing.NewMetrics(r) }},
		{"## Process", func(r prometheus.Registerer) {
			r.MustRegister(newRegistry("test"))
			registerLog(r, func() uint64 { return 0 })
		}},
	} {
		t.Run(strings.TrimPrefix(c.heading, "## "), func(t *testing.T) {
			r := filling{prometheus.NewRegistry()}
			c.register(r)
			families, err := r.Gather()
			if err != nil {
				t.Fatal(err)
			}
			rows := [][]string{{"metric", "type", "labels", "description"}}
			for _, f := range families {
				if !strings.HasPrefix(f.GetName(), "invoicebox_worker_") {
					continue
				}
				var labels []string
				for _, l := range f.GetMetric()[0].GetLabel() {
					labels = append(labels, golden.Code(l.GetName()))
				}
				rows = append(rows, []string{golden.Code(f.GetName()), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp()})
			}
			golden.CompareMarkdown(t, "../../docs/metrics.md", c.heading, rows)
		})
	}
}

// A filling registry gives every vector a series, because one without is not gathered.
type filling struct{ *prometheus.Registry }

func (r filling) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		fill(c)
	}
	r.Registry.MustRegister(cs...)
}

func fill(c prometheus.Collector) {
	const mostLabels = 4
	for n := 1; n <= mostLabels; n++ {
		values, err := make([]string, n), error(nil)
		switch vector := c.(type) {
		case *prometheus.CounterVec:
			_, err = vector.GetMetricWithLabelValues(values...)
		case *prometheus.GaugeVec:
			_, err = vector.GetMetricWithLabelValues(values...)
		case *prometheus.HistogramVec:
			_, err = vector.GetMetricWithLabelValues(values...)
		}
		if err == nil {
			return
		}
	}
}
