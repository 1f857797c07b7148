package endpoint

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the metrics of the endpoint.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
	running  prometheus.Gauge
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "invoicebox_worker_credentials_requests_total", Help: "Requests to the credentials endpoint by outcome.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "invoicebox_worker_credentials_request_seconds", Help: "Duration of requests to the credentials endpoint that read the journal.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "invoicebox_worker_credentials_requests_running", Help: "Requests to the credentials endpoint that read the journal now.",
		}),
	}
	for _, o := range outcomes() {
		m.requests.WithLabelValues(string(o))
	}
	r.MustRegister(m.requests, m.seconds, m.running)
	return m
}

func (m *Metrics) count(o outcome) { m.requests.WithLabelValues(string(o)).Inc() }

// reading counts a request that reads, until the function that it returns is called.
func (m *Metrics) reading() func() {
	begun := time.Now()
	m.running.Inc()
	return func() {
		m.running.Dec()
		m.seconds.Observe(time.Since(begun).Seconds())
	}
}
