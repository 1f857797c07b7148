package tracing

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// A Tracer starts the spans of the work that an event causes. A nil Tracer starts none.
type Tracer struct{ tracer trace.Tracer }

// NewTracer makes a tracer. The provider must use [IDs].
func NewTracer(p trace.TracerProvider, version string) *Tracer {
	return &Tracer{p.Tracer("invoicebox-worker", trace.WithInstrumentationVersion(version))}
}

// Enabled reports whether spans are started. Callers make no attributes if it is false.
func (t *Tracer) Enabled() bool { return t != nil }

// An Event identifies the event that causes the work.
type Event struct {
	TraceParent string // as the event contains it; "" if it has none
	Shop, ID    string
}

// StartFirst starts the first span of an event's work. Without a traceparent it is the root
// of the trace.
func (t *Tracer) StartFirst(e Event, name string, o ...trace.SpanStartOption) trace.Span {
	if t == nil {
		return noop.Span{}
	}
	ctx := context.Background()
	if parent := e.incoming(); parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	} else {
		ctx = context.WithValue(ctx, idsKey{}, e.derive())
	}
	_, span := t.tracer.Start(ctx, name, o...)
	return span
}

// Start starts a later span of an event's work. Without a traceparent its parent is the span
// that StartFirst starts. The context is that of ctx, with the span.
func (t *Tracer) Start(ctx context.Context, e Event, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil {
		return ctx, noop.Span{}
	}
	return t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, t.origin(e)), name, o...)
}

// StartRoot starts the span of work that no event causes, in a trace of its own. The context
// is that of ctx, with the span.
func (t *Tracer) StartRoot(ctx context.Context, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil {
		return ctx, noop.Span{}
	}
	return t.tracer.Start(ctx, name, append(o, trace.WithNewRoot())...)
}

// Link returns a link to the trace of another event.
func (t *Tracer) Link(e Event) trace.Link { return trace.Link{SpanContext: t.origin(e)} }

// origin returns the parent of the later spans.
func (t *Tracer) origin(e Event) trace.SpanContext {
	if parent := e.incoming(); parent.IsValid() {
		return parent
	}
	// Start the first span again, to get the sampler's decision. This span is never ended,
	// so it is not exported.
	return t.StartFirst(e, "").SpanContext().WithRemote(true)
}

// incoming returns the context of the event's traceparent, which is not valid if there is
// none. Its form was checked when the event was read. The tracestate is not exported: its
// content is the platform's.
func (e Event) incoming() trace.SpanContext {
	const length, sampled = 55, 1
	if len(e.TraceParent) != length {
		return trace.SpanContext{}
	}
	id, err := trace.TraceIDFromHex(e.TraceParent[3:35])
	if err != nil {
		return trace.SpanContext{}
	}
	parent, err := trace.SpanIDFromHex(e.TraceParent[36:52])
	if err != nil {
		return trace.SpanContext{}
	}
	flags := trace.TraceFlags(0)
	if last := e.TraceParent[length-1]; last <= '9' && (last-'0')&sampled != 0 || last > '9' && (last-'a'+10)&sampled != 0 {
		flags = trace.FlagsSampled
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: parent, TraceFlags: flags, Remote: true})
}

// derive returns the ids of the trace of an event without a traceparent.
func (e Event) derive() ids {
	sum := sha256.Sum256([]byte("invoicebox-worker trace\x00" + e.Shop + "\x00" + e.ID))
	return ids{trace.TraceID(sum[:16]), trace.SpanID(sum[16:24])}
}

type idsKey struct{}

// ids are the ids of a span.
type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

// IDs generates the ids of spans. It implements the generator of the SDK.
type IDs struct{}

// NewIDs returns the ids of a root: those in ctx, if there are some.
func (g IDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if i, ok := ctx.Value(idsKey{}).(ids); ok {
		return i.trace, i.span
	}
	var id trace.TraceID
	for !id.IsValid() {
		fill(id[:8])
		fill(id[8:])
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID returns the id of a span that has a parent.
func (IDs) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	for !id.IsValid() {
		fill(id[:])
	}
	return id
}

func fill(id []byte) {
	for n := rand.Uint64(); len(id) > 0; n, id = n>>8, id[1:] { //nolint:gosec // ids are no secrets
		id[0] = byte(n)
	}
}

// Observe observes a value. A span that is exported becomes its exemplar.
func Observe(o prometheus.Observer, v float64, s trace.SpanContext) {
	if x, ok := o.(prometheus.ExemplarObserver); ok && s.IsSampled() {
		x.ObserveWithExemplar(v, prometheus.Labels{"trace_id": s.TraceID().String(), "span_id": s.SpanID().String()})
		return
	}
	o.Observe(v)
}
