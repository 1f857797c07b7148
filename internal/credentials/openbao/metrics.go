package openbao

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the counters of a store. All labels are of closed sets.
type Metrics struct {
	requests *prometheus.HistogramVec
}

// NewMetrics creates the metrics and registers them; with a nil registerer it does not
// register them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "invoicebox_worker", Name: "credential_store_request_duration_seconds",
		Help:    "Duration of requests to OpenBao or Vault, by operation and result.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"operation", "result"})}
	if r != nil {
		r.MustRegister(m.requests)
	}
	return m
}

func (m *Metrics) countRequest(operation string, result Fault, took time.Duration) {
	m.requests.WithLabelValues(operation, string(result)).Observe(took.Seconds())
}
