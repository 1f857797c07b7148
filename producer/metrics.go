package producer

import (
	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/schemas"
)

// Metrics are the relay's. One registry holds them once.
type Metrics struct {
	published *prometheus.CounterVec
	errors    *prometheus.CounterVec
	seconds   prometheus.Histogram
	stopped   *prometheus.GaugeVec
	held      prometheus.Gauge
	active    prometheus.Gauge
	forged    prometheus.Gauge
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "invoicebox_worker_published_total", Help: "Events that all replicas acknowledged, by type.",
		}, []string{"type"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "invoicebox_worker_publish_errors_total", Help: "Failed attempts to publish a batch, by class of the fault.",
		}, []string{"class"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "invoicebox_worker_publish_seconds", Help: "Time from sending a batch to its acknowledgement.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}),
		stopped: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "invoicebox_worker_publish_stopped", Help: "1 for a topic whose results are held back because a broker definitely refuses them.",
		}, []string{"topic"}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "invoicebox_worker_publish_held", Help: "Outbox rows that the relay holds in memory.",
		}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "invoicebox_worker_relay_active", Help: "1 while this replica has the relay lease, 0 while another has it or the journal does not answer.",
		}),
	}
	m.forged = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "invoicebox_worker_outbox_not_authentic", Help: "Outbox rows that are not published because they were inserted or edited in the database, or are damaged.",
	})
	for _, typ := range schemas.OutputTypes() {
		m.published.WithLabelValues(typ)
	}
	r.MustRegister(m.published, m.errors, m.seconds, m.stopped, m.held, m.active, m.forged)
	return m
}
