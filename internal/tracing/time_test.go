package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A sender is an exporter for tests.
type sender struct {
	send func(ctx context.Context, n int) error
	sent atomic.Int64
}

func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := s.send(ctx, len(spans)); err != nil {
		return err
	}
	s.sent.Add(int64(len(spans)))
	return nil
}

func (*sender) Shutdown(context.Context) error { return nil }

func startWith(t *testing.T, s *sender) (*Exporter, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	e, err := start(Options{Version: "test", Instance: "test", Logger: slog.New(slog.NewTextHandler(&log, nil)), Metrics: NewMetrics(prometheus.NewRegistry())}, s)
	if err != nil {
		t.Fatal(err)
	}
	return e, &log
}

func (e *Exporter) make(n int) {
	for i := range n {
		e.tracer.StartFirst(Event{Shop: "shop", ID: strconv.Itoa(i)}, "span").End()
	}
}

func (e *Exporter) dropped(reason string) int {
	return int(testutil.ToFloat64(e.queue.metrics.dropped.WithLabelValues(reason)))
}

func TestExporter(t *testing.T) {
	t.Run("ExportsWhatWaitsAtShutdown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &sender{send: func(context.Context, int) error { return nil }}
			e, log := startWith(t, s)
			e.make(700)
			e.Shutdown(t.Context())
			if s.sent.Load() != 700 || testutil.ToFloat64(e.queue.metrics.exported) != 700 || log.Len() > 0 {
				t.Errorf("%d spans were sent; log: %s", s.sent.Load(), log)
			}
		})
	})
	// A collector that does not answer: the memory is bounded, nobody waits, and the
	// shutdown ends in time.
	t.Run("DropsWhileTheCollectorHangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &sender{send: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }}
			e, log := startWith(t, s)
			began := time.Now()
			e.make(maxWaiting + 1000)
			if !time.Now().Equal(began) {
				t.Error("the spans waited for the collector")
			}
			if n := e.dropped(queueFull); n != 1000 {
				t.Errorf("%d spans were dropped, not 1000", n)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			e.Shutdown(ctx)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("the shutdown took %v", took)
			}
			synctest.Wait()
			if n := e.dropped(shutdown); n != maxWaiting {
				t.Errorf("%d spans are counted as dropped at the shutdown, not %d", n, maxWaiting)
			}
			_ = log
		})
	})
	// The log has one line for the first failure, one every ten minutes, and one for the
	// end. It contains no text of the collector.
	t.Run("LogsFailuresSparsely", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fails := true
			s := &sender{send: func(context.Context, int) error {
				if fails {
					return errors.New("failed to send to http://collector/v1/traces: 401 Unauthorized (body: SECRET)")
				}
				return nil
			}}
			e, log := startWith(t, s)
			for range 21 * 60 / 10 {
				e.make(10)
				time.Sleep(10 * time.Second)
			}
			if n := strings.Count(log.String(), "\n"); n != 3 || strings.Contains(log.String(), "SECRET") || !strings.Contains(log.String(), "HTTP status 401") {
				t.Errorf("%d lines:\n%s", n, log)
			}
			if n := e.dropped(failed); n != 1260 {
				t.Errorf("%d spans are counted as dropped, not 1260", n)
			}
			fails = false
			e.make(10)
			e.Shutdown(t.Context())
			if n := strings.Count(log.String(), "\n"); n != 4 || !strings.Contains(log.String(), "again") {
				t.Errorf("%d lines:\n%s", n, log)
			}
		})
	})
	t.Run("BoundsAttributes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &sender{send: func(context.Context, int) error { return nil }}
			e, _ := startWith(t, s)
			defer e.Shutdown(t.Context())
			span := e.tracer.StartFirst(Event{Shop: "s"}, "x")
			span.SetAttributes(attribute.String("long", strings.Repeat("ü", 5000)))
			for i := range 100 {
				span.SetAttributes(attribute.String(fmt.Sprint("more", i), ""))
			}
			got := span.(sdktrace.ReadOnlySpan).Attributes()
			if len(got) != 32 || len(got[0].Value.AsString()) > 4*maxText {
				t.Errorf("%d attributes, the first with %d bytes", len(got), len(got[0].Value.AsString()))
			}
			span.End()
		})
	})
}
