package producer

import (
	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/schemas"
)

// Metrics are the relay's metrics. A registry can hold them once.
type Metrics struct {
	published   *prometheus.CounterVec
	errors      *prometheus.CounterVec
	duration    prometheus.Histogram
	blocked     *prometheus.GaugeVec
	buffered    prometheus.Gauge
	leader      prometheus.Gauge
	unauthentic prometheus.Gauge
}

// NewMetrics makes and registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "invoicebox_worker_published_total", Help: "Events that all in-sync replicas acknowledged, by type.",
		}, []string{"type"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "invoicebox_worker_publish_errors_total", Help: "Failed attempts to publish a batch, by class of the fault.",
		}, []string{"class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "invoicebox_worker_publish_duration_seconds", Help: "Time from sending a batch to its acknowledgement.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}),
		blocked: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "invoicebox_worker_relay_topic_blocked", Help: "1 for a topic whose events are held back because a broker rejects them permanently.",
		}, []string{"topic"}),
		buffered: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "invoicebox_worker_relay_buffered_events", Help: "Outbox rows that the relay holds in memory.",
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "invoicebox_worker_relay_leader", Help: "1 while this replica has the relay lease, 0 while another has it or the journal is unreachable.",
		}),
		unauthentic: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "invoicebox_worker_outbox_not_authentic", Help: "Outbox rows that are not published because they were inserted or edited in the database, or are damaged.",
		}),
	}
	for _, typ := range schemas.OutputTypes() {
		m.published.WithLabelValues(typ)
	}
	r.MustRegister(m.published, m.errors, m.duration, m.blocked, m.buffered, m.leader, m.unauthentic)
	return m
}
