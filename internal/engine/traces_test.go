package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
)

// traced makes the harness record spans.
func (h *harness) traced() *tracetest.SpanRecorder {
	rec := tracetest.NewSpanRecorder()
	h.cfg.Tracer = tracing.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(tracing.IDs{}), sdktrace.WithSpanProcessor(rec)), "test")
	return rec
}

func TestTraces(t *testing.T) {
	// Each claim of an operation has a span, and all are in the trace of the event.
	t.Run("ContinuesAfterAWait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, steps(answer{status: 425}, answer{status: 425}))
			rec := h.traced()
			op := h.add(journal.Activate, "s", "code-1")
			h.start()
			h.until(time.Hour, "done", func() bool { s, _ := h.j.state(op); return s == journal.Done })
			h.finish()
			var outcomes []string
			for _, s := range rec.Ended() {
				if s.SpanContext().TraceID() != rec.Ended()[0].SpanContext().TraceID() {
					t.Errorf("%s is in another trace", s.Name())
				}
				if s.Name() != "activate" {
					continue
				}
				for _, a := range s.Attributes() {
					if a.Key == attrOutcome {
						outcomes = append(outcomes, a.Value.AsString())
					}
				}
			}
			if want := []string{"not_executed", "not_executed", "done"}; !slices.Equal(outcomes, want) {
				t.Errorf("outcomes %q, not %q", outcomes, want)
			}
		})
	})
	// A step that fails is marked, without the text of its error.
	t.Run("MarksFailedSteps", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, good)
			rec := h.traced()
			h.cfg.Journal = failingOnce{h.cfg.Journal, new(bool)}
			op := h.add(journal.Activate, "s", "code-1")
			h.start()
			h.until(time.Hour, "done", func() bool { s, _ := h.j.state(op); return s == journal.Done })
			h.finish()
			h.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
			failed := 0
			for _, s := range rec.Ended() {
				if s.Status().Code == codes.Error {
					failed++
					if s.Name() != "save transition" || s.Status().Description != "" || len(s.Events()) > 0 {
						t.Errorf("%s: %+v, events %v", s.Name(), s.Status(), s.Events())
					}
				}
			}
			if failed != 1 {
				t.Errorf("%d failed steps, not 1", failed)
			}
		})
	})
}

// Calls that no event causes have a trace of their own, linked to the event that brought the
// credentials.
func TestTraces_Roots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(map[string][]answer{"code-2": {lost, refusal(422)}}))
		rec := h.traced()
		h.cfg.VerifyEvery = time.Hour
		verified := h.add(journal.Activate, "shop-1", "code-1")
		entered := h.add(journal.Activate, "shop-2", "code-2")
		h.start()
		h.attention(entered)
		h.ended(h.j.ask(h.keys, journal.Intent{Act: string(onboarding.ActionCheck)}, ""), onboarding.ResultTokenWorks)
		h.ended(h.enters(entered, "merchant-1", "entered-token"), onboarding.ResultActivated)
		of := func(name string) (spans []sdktrace.ReadOnlySpan) {
			for _, s := range rec.Ended() {
				if s.Name() == name {
					spans = append(spans, s)
				}
			}
			return spans
		}
		h.until(3*time.Hour, "verified", func() bool { return len(of("verify")) >= 2 })
		h.finish()
		traces := map[string]bool{} // of the operations, by shop
		for _, s := range of("activate") {
			traces[s.SpanContext().TraceID().String()] = true
		}
		for name, links := range map[string]int{"verify": 1, "check account": 0, string(onboarding.ActionSetCredentials): 1} {
			for _, s := range of(name) {
				if s.Parent().IsValid() || traces[s.SpanContext().TraceID().String()] || len(s.Links()) != links || links > 0 && !traces[s.Links()[0].SpanContext.TraceID().String()] {
					t.Errorf("%s: parent %v, links %v", name, s.Parent(), s.Links())
				}
			}
			if len(of(name)) == 0 {
				t.Errorf("no span %q", name)
			}
		}
		h.expect(verified, journal.Done, onboarding.ReasonActivated, eventActive)
	})
}

// A failingOnce fails the first transition.
type failingOnce struct {
	Journal
	failed *bool
}

func (j failingOnce) Apply(ctx context.Context, tr journal.Transition) error {
	if !*j.failed {
		*j.failed = true
		return errors.New("postgres://secret@db failed")
	}
	return j.Journal.Apply(ctx, tr)
}

// Without a tracer, the spans of an operation and its steps allocate nothing.
func TestTracesOff(t *testing.T) {
	e, s, task := &Engine{}, phases{accept: t.Context(), calls: t.Context(), writes: t.Context()}, &task{}
	if n := testing.AllocsPerRun(100, func() {
		s, span := e.startSpan(s, task)
		_, child := childSpan(s.writes, "step")
		endSpan(child, nil)
		traceOutcome(s.writes, task, invoicebox.Classification{})
		span.End()
		_, root := e.startRoot(s, "verify", "account", "shop", tracing.Event{})
		root.End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
