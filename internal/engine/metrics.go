package engine

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/tracing"
)

// Metrics are the engine's counters. All labels are of closed sets; accounts are
// the configured ones.
type Metrics struct {
	calls    *prometheus.HistogramVec
	finished *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	calling  *prometheus.GaugeVec
	breakers *prometheus.GaugeVec
	permits  *prometheus.GaugeVec
	errors   *prometheus.CounterVec
	actions  *prometheus.CounterVec
	cooled   *prometheus.CounterVec

	reminders             *prometheus.CounterVec
	verifications         *prometheus.CounterVec
	consecutiveRejections *prometheus.GaugeVec
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
			Namespace: space, Name: "operations_finished_total", Help: "Operations that reached done or attention, by kind, state and reason.",
		}, []string{"kind", "state", "reason"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "operations_in_flight", Help: "Operations claimed by this process, by account.",
		}, []string{"account"}),
		calling: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "calls_in_flight", Help: "Calls to Invoicebox in flight, by account.",
		}, []string{"account"}),
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "account_circuit", Help: "1 for the current state of the account's circuit breaker, 0 for the others.",
		}, []string{"account", "state"}),
		permits: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "rate_limit_available", Help: "Permits left in the rate limit's window, as last read.",
		}, []string{"limit"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "journal_errors_total", Help: "Failed journal transactions of the engine, by step.",
		}, []string{"step"}),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "operator_actions_total", Help: "Operator actions that were executed or refused, by action and result.",
		}, []string{"action", "result"}),
		cooled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "invitations_delayed_total", Help: "Invitations delayed because their address received an e-mail within --address-cool-down, by account.",
		}, []string{"account"}),
		reminders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "reminders_total", Help: "Reminders of unanswered invitations that were queued for publishing, by account.",
		}, []string{"account"}),
		verifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Name: "credential_verifications_total", Help: "Verification results that were published for credentials of active shops, by account and state.",
		}, []string{"account", "state"}),
		consecutiveRejections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Name: "credentials_consecutive_rejections", Help: "Different shops whose tokens were rejected in a row. From 10 on no credentials_invalid event is published until one token works.",
		}, []string{"account"}),
	}
	if r != nil {
		r.MustRegister(m.calls, m.finished, m.inFlight, m.calling, m.breakers, m.permits, m.errors, m.actions, m.cooled, m.reminders, m.verifications, m.consecutiveRejections)
	}
	return m
}

// called counts a call. If the span of ctx is exported, it becomes the exemplar.
func (m *Metrics) called(ctx context.Context, operation, outcome string, took time.Duration) {
	tracing.Observe(m.calls.WithLabelValues(operation, outcome), took.Seconds(), trace.SpanContextFromContext(ctx))
}

func (m *Metrics) ended(k journal.Kind, s journal.State, r onboarding.Reason) {
	m.finished.WithLabelValues(k.String(), s.String(), string(r)).Inc()
}

var breakerStates = []journal.CircuitState{journal.CircuitActive, journal.CircuitThrottled, journal.CircuitBackingOff, journal.CircuitPaused}

func (m *Metrics) breaker(account string, s journal.CircuitState) {
	for _, state := range breakerStates {
		v := 0.0
		if state == s {
			v = 1
		}
		m.breakers.WithLabelValues(account, string(state)).Set(v)
	}
}
