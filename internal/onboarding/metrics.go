package onboarding

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/journal"
)

// Metrics are the pool's counters. All labels are of closed sets; accounts are
// the configured ones.
type Metrics struct {
	calls    *prometheus.HistogramVec
	finished *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	calling  *prometheus.GaugeVec
	gates    *prometheus.GaugeVec
	permits  *prometheus.GaugeVec
	errors   *prometheus.CounterVec
	intents  *prometheus.CounterVec
	cooled   *prometheus.CounterVec

	reviewed     *prometheus.CounterVec
	refusedInRow *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them; a nil registerer leaves them
// unregistered.
func NewMetrics(r prometheus.Registerer) *Metrics {
	const space = "invoicebox_worker"
	m := &Metrics{
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: space, Name: "call_duration_seconds", Help: "Duration of calls to Invoicebox, by operation and outcome.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60},
		}, []string{"operation", "outcome"}),
		finished: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "operations_finished_total", Help: "Operations that came to done or attention, by kind, state and reason.",
		}, []string{"kind", "state", "reason"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "operations_in_flight", Help: "Operations that this process holds, by account.",
		}, []string{"account"}),
		calling: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "calls_in_flight", Help: "Calls to Invoicebox under way, by account.",
		}, []string{"account"}),
		gates: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "account_gate", Help: "1 for the state that the account's gate is in.",
		}, []string{"account", "state"}),
		permits: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "permits_free", Help: "Requests that a ledger has left in its window, as last seen.",
		}, []string{"ledger"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "journal_errors_total", Help: "Errors of the journal that the pool met, by what it did.",
		}, []string{"step"}),
		intents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "intents_total", Help: "Acts of people that were performed or refused, by act and result.",
		}, []string{"act", "result"}),
		cooled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "invitations_delayed_total", Help: "Times that an invitation was put off because its address got an e-mail within --address-cool-down, by account.",
		}, []string{"account"}),
		reviewed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "credentials_announced_total", Help: "Credentials of active shops that were announced as verified or invalid, by account.",
		}, []string{"account", "state"}),
		refusedInRow: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "credentials_refused_in_row", Help: "Different shops whose tokens were refused in a row; from 10 on none is announced until one works.",
		}, []string{"account"}),
	}
	if r != nil {
		r.MustRegister(m.calls, m.finished, m.inFlight, m.calling, m.gates, m.permits, m.errors, m.intents, m.cooled, m.reviewed, m.refusedInRow)
	}
	return m
}

func (m *Metrics) called(operation, outcome string, took time.Duration) {
	m.calls.WithLabelValues(operation, outcome).Observe(took.Seconds())
}

func (m *Metrics) ended(k journal.Kind, s journal.State, r Reason) {
	m.finished.WithLabelValues(k.String(), s.String(), string(r)).Inc()
}

var gateStates = []journal.GateState{journal.GateOpen, journal.GateLimited, journal.GateResting, journal.GatePaused}

func (m *Metrics) gate(account string, s journal.GateState) {
	for _, state := range gateStates {
		v := 0.0
		if state == s {
			v = 1
		}
		m.gates.WithLabelValues(account, string(state)).Set(v)
	}
}
