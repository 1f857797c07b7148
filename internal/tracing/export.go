package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	// maxWaiting bounds the spans that wait for export, about 6 MB.
	maxWaiting = 4096
	// A batch is exported when it has batchSize spans, or batchTimeout after the last one.
	batchSize    = 512
	batchTimeout = 5 * time.Second
	// exportTimeout bounds the export of one batch, with its repeats.
	exportTimeout = 20 * time.Second
	// logInterval is the least time between two log lines of failing exports.
	logInterval = 10 * time.Minute
	// maxText bounds an attribute, in bytes. A shop id has at most 128.
	maxText = 256
)

// Options configure the export.
type Options struct {
	// Endpoint is the collector's address; see [URL].
	Endpoint          string
	Version, Instance string // of the service
	Logger            *slog.Logger
	Metrics           *Metrics
}

// Metrics are the metrics of the export. A registry can hold them once.
type Metrics struct {
	exported prometheus.Counter
	dropped  *prometheus.CounterVec
}

// Reasons of dropped spans.
const (
	queueFull = "queue_full"
	failed    = "export_failed"
	shutdown  = "shutdown"
)

// NewMetrics makes and registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		exported: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "invoicebox_worker_spans_exported_total", Help: "Spans that the collector of --otlp-endpoint accepted.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "invoicebox_worker_spans_dropped_total", Help: "Spans that were dropped, by reason: the queue was full, the export failed, or the worker stopped.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{queueFull, failed, shutdown} {
		m.dropped.WithLabelValues(reason)
	}
	r.MustRegister(m.exported, m.dropped)
	return m
}

// An Exporter collects the ended spans and sends them to the collector in batches.
type Exporter struct {
	provider *sdktrace.TracerProvider
	tracer   *Tracer
	queue    *queue
	stop     context.CancelFunc
}

// Start starts the export. It makes no request.
func Start(o Options) (*Exporter, error) {
	client, err := newClient(o.Endpoint)
	if err != nil {
		return nil, err
	}
	sender, err := otlptrace.New(context.Background(), client)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return start(o, sender)
}

func start(o Options, sender sdktrace.SpanExporter) (*Exporter, error) {
	about, err := resource.New(context.Background(),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "invoicebox-worker"),
			attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.Instance),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, errors.New("tracing: OTEL_RESOURCE_ATTRIBUTES cannot be read") // its form was checked
	}
	stopped, stop := context.WithCancel(context.Background())
	q := &queue{metrics: o.Metrics, log: o.Logger, sender: sender, stopped: stopped}
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(batchSender{q}, sdktrace.WithMaxQueueSize(maxWaiting),
		sdktrace.WithMaxExportBatchSize(batchSize), sdktrace.WithBatchTimeout(batchTimeout), sdktrace.WithExportTimeout(exportTimeout))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(about), sdktrace.WithSpanProcessor(q), sdktrace.WithIDGenerator(IDs{}),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: maxText, AttributeCountLimit: 32, EventCountLimit: 8, LinkCountLimit: 4,
			AttributePerEventCountLimit: 8, AttributePerLinkCountLimit: 8,
		}),
	)
	return &Exporter{provider: provider, tracer: NewTracer(provider, o.Version), queue: q, stop: stop}, nil
}

// Tracer returns the tracer whose spans are exported.
func (e *Exporter) Tracer() *Tracer { return e.tracer }

// Shutdown exports the spans that wait, until ctx ends.
func (e *Exporter) Shutdown(ctx context.Context) {
	_ = e.provider.Shutdown(ctx) // the queue has logged why
	e.stop()
	if left := e.queue.waiting.Load(); left > 0 {
		e.queue.metrics.dropped.WithLabelValues(shutdown).Add(float64(left))
	}
}

// A queue bounds the spans that wait, counts those that are dropped, and logs failures. The
// batch processor drops none itself: its own queue has the same bound.
type queue struct {
	sdktrace.SpanProcessor
	sender  sdktrace.SpanExporter
	stopped context.Context //nolint:containedctx // ends exports that the shutdown does not wait for
	metrics *Metrics
	log     *slog.Logger
	waiting atomic.Int64

	// Of the one export at a time.
	failing bool
	lost    int // since the last log line
	logged  time.Time
}

// OnEnd implements the processor of the SDK.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if q.waiting.Add(1) > maxWaiting {
		q.waiting.Add(-1)
		q.metrics.dropped.WithLabelValues(queueFull).Inc()
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// A batchSender sends the batches of a queue. Its errors are the queue's: the SDK would
// print them.
type batchSender struct{ queue *queue }

// ExportSpans implements the exporter of the SDK.
func (b batchSender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	q := b.queue
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.stopped, cancel)()
	err := q.sender.ExportSpans(ctx, spans)
	if q.stopped.Err() != nil && err != nil {
		return nil // Shutdown counts them
	}
	q.waiting.Add(int64(-len(spans)))
	q.report(len(spans), err)
	return nil
}

// Shutdown implements the exporter of the SDK.
func (b batchSender) Shutdown(ctx context.Context) error { return b.queue.sender.Shutdown(ctx) }

// report counts a batch, and logs the first failure, one every ten minutes, and the end of
// the failures.
func (q *queue) report(n int, err error) {
	if err == nil {
		q.metrics.exported.Add(float64(n))
		if q.failing {
			q.log.Info("the collector accepts spans again", "dropped", q.lost)
		}
		q.failing, q.lost = false, 0
		return
	}
	q.metrics.dropped.WithLabelValues(failed).Add(float64(n))
	q.lost += n
	if q.failing && time.Since(q.logged) < logInterval {
		return
	}
	q.log.Warn("spans cannot be exported and are dropped; operations continue", "reason", Describe(err), "dropped", q.lost)
	q.failing, q.lost, q.logged = true, 0, time.Now()
}

// URL returns where spans are posted. The endpoint is the collector's base address, as in
// OTEL_EXPORTER_OTLP_ENDPOINT, or the full address of its traces.
func URL(endpoint string) string {
	const path = "/v1/traces"
	endpoint = strings.TrimRight(endpoint, "/")
	if strings.HasSuffix(endpoint, path) {
		return endpoint
	}
	return endpoint + path
}

// newClient makes the client. The exporter reads the OTEL_EXPORTER_OTLP_… variables, too. The
// HTTP client is made here, because the exporter's own follows redirects, and would send
// the headers of the variables to another server.
func newClient(endpoint string) (otlptrace.Client, error) {
	address := URL(endpoint)
	timeout, trust, err := checkEnvironment()
	if err != nil {
		return nil, err
	}
	if trust != nil && !strings.HasPrefix(address, "https:") {
		return nil, errors.New("OTEL_EXPORTER_OTLP_CERTIFICATE, …_CLIENT_CERTIFICATE and …_CLIENT_KEY need an https address in --otlp-endpoint")
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: timeout, IdleConnTimeout: time.Minute, MaxIdleConns: 2,
	}
	return otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(address),
		otlptracehttp.WithHTTPClient(&http.Client{
			Transport: transport, Timeout: timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout}),
	), nil
}

// ErrSettings reports that [Start] refuses the settings.
var ErrSettings = errors.New("tracing settings")

// Probe sends a request without spans. It returns what is wrong, in words that contain no
// text of the collector.
func Probe(ctx context.Context, endpoint string) error {
	client, err := newClient(endpoint)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSettings, err)
	}
	defer func() { _ = client.Stop(ctx) }()
	if err := client.UploadTraces(ctx, nil); err != nil {
		return errors.New(Describe(err))
	}
	return nil
}
