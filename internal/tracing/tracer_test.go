package tracing

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// recorded returns a tracer and what it records.
func recorded(t *testing.T, o ...sdktrace.TracerProviderOption) (*Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	rec := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(append(o, sdktrace.WithIDGenerator(IDs{}), sdktrace.WithSpanProcessor(rec))...)
	return NewTracer(p, "test"), rec
}

const incomingTrace, incomingSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

func TestTracer(t *testing.T) {
	t.Run("ContinuesTheIncomingTrace", func(t *testing.T) {
		tracer, rec := recorded(t)
		e := Event{TraceParent: "00-" + incomingTrace + "-" + incomingSpan + "-01", Shop: "s", ID: "e"}
		tracer.StartFirst(e, "first").End()
		_, later := tracer.Start(t.Context(), e, "later")
		later.End()
		ended := rec.Ended()
		if len(ended) != 2 {
			t.Fatalf("%d spans", len(ended))
		}
		for _, s := range ended {
			if p := s.Parent(); p.TraceID().String() != incomingTrace || p.SpanID().String() != incomingSpan || !p.IsRemote() || s.SpanContext().TraceID() != p.TraceID() {
				t.Errorf("%s: parent %v", s.Name(), p)
			}
		}
	})
	t.Run("HonoursTheFlag", func(t *testing.T) {
		tracer, rec := recorded(t)
		for flags, sampled := range map[string]bool{"00": false, "01": true, "02": false, "03": true, "0a": false, "0b": true, "ff": true} {
			e := Event{TraceParent: "00-" + incomingTrace + "-" + incomingSpan + "-" + flags}
			if got := tracer.StartFirst(e, "first").SpanContext().IsSampled(); got != sampled {
				t.Errorf("flags %s: sampled %v", flags, got)
			}
		}
		_ = rec
	})
	// Without a traceparent, shop and event decide the ids, so that each process makes the
	// same trace.
	t.Run("DerivesATrace", func(t *testing.T) {
		a, recA := recorded(t)
		b, recB := recorded(t)
		e := Event{Shop: "shop-1", ID: "event-1"}
		a.StartFirst(e, "first").End()
		_, later := b.Start(t.Context(), e, "later")
		later.End()
		if len(recA.Ended()) != 1 || len(recB.Ended()) != 1 {
			t.Fatalf("%d and %d spans ended", len(recA.Ended()), len(recB.Ended()))
		}
		first, second := recA.Ended()[0], recB.Ended()[0]
		if first.Parent().IsValid() || second.Parent().SpanID() != first.SpanContext().SpanID() || second.SpanContext().TraceID() != first.SpanContext().TraceID() {
			t.Errorf("first %v, second %v below %v", first.SpanContext(), second.SpanContext(), second.Parent())
		}
		for _, other := range []Event{{Shop: "shop-1", ID: "event-2"}, {Shop: "shop-2", ID: "event-1"}, {Shop: "shop-1\x00event", ID: "-1"}} {
			if a.StartFirst(other, "").SpanContext().TraceID() == first.SpanContext().TraceID() {
				t.Errorf("%+v has the same trace", other)
			}
		}
	})
	// Both halves of a derived trace are exported, or none.
	t.Run("SamplesDerivedTracesAlike", func(t *testing.T) {
		sampler := sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.5)))
		a, _ := recorded(t, sampler)
		sampled := 0
		for i := range 200 {
			e := Event{Shop: "shop", ID: string(rune('a' + i))}
			_, later := a.Start(t.Context(), e, "later")
			if one := a.StartFirst(e, "first").SpanContext().IsSampled(); one != later.SpanContext().IsSampled() {
				t.Errorf("%+v: the first is sampled: %v, the later one: %v", e, one, !one)
			} else if one {
				sampled++
			}
		}
		if sampled < 60 || sampled > 140 {
			t.Errorf("%d of 200 are sampled", sampled)
		}
	})
	t.Run("RejectsMalformed", func(t *testing.T) {
		for _, text := range []string{"", "00-", "00-" + incomingTrace + "-" + incomingSpan, "00-00000000000000000000000000000000-" + incomingSpan + "-01", "00-" + incomingTrace + "-0000000000000000-01", "00-" + incomingTrace[:31] + "x-" + incomingSpan + "-01"} {
			if (Event{TraceParent: text}).incoming().IsValid() {
				t.Errorf("%q is valid", text)
			}
		}
	})
	t.Run("MakesRandomIDs", func(t *testing.T) {
		a, s := IDs{}.NewIDs(t.Context())
		b, _ := IDs{}.NewIDs(t.Context())
		if a == b || !a.IsValid() || !s.IsValid() {
			t.Errorf("%v, %v, %v", a, b, s)
		}
	})
}

// A tracer that is off allocates nothing.
func TestTracerOff(t *testing.T) {
	var off *Tracer
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Help: "x"})
	ctx, e := t.Context(), Event{TraceParent: "00-" + incomingTrace + "-" + incomingSpan + "-01", Shop: "s", ID: "e"}
	if n := testing.AllocsPerRun(100, func() {
		if off.Enabled() {
			t.Error("it is on")
		}
		off.StartFirst(e, "first").End()
		_, span := off.Start(ctx, e, "later")
		span.End()
		Observe(histogram, 1, trace.SpanContextFromContext(ctx))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestObserve(t *testing.T) {
	tracer, _ := recorded(t)
	for flags, want := range map[string]string{"00": "", "01": incomingTrace} {
		histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Help: "x", Buckets: []float64{1}})
		_, span := tracer.Start(context.Background(), Event{TraceParent: "00-" + incomingTrace + "-" + incomingSpan + "-" + flags}, "x")
		Observe(histogram, 0.5, span.SpanContext())
		var m dto.Metric
		if err := histogram.Write(&m); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, l := range m.GetHistogram().GetBucket()[0].GetExemplar().GetLabel() {
			if l.GetName() == "trace_id" {
				got = l.GetValue()
			}
		}
		if got != want || m.GetHistogram().GetSampleCount() != 1 {
			t.Errorf("flags %s: exemplar of trace %q, %d values", flags, got, m.GetHistogram().GetSampleCount())
		}
	}
}
