package engine_test

import (
	"fmt"
	"testing"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
)

// The account's limit holds over a restart, as the server counts it.
func TestService_LimitOverRealJournal(t *testing.T) {
	const limit, operations, window = 20, 70, time.Second
	o := calm()
	o.RequestsPerWindow, o.Window, o.CountAt, o.Latency = limit, window, sandbox.CountBetween, 20*time.Millisecond
	s := newService(t, o)
	s.change = func(c *engine.Config) { c.Accounts[0].Requests, c.Accounts[0].Window = limit, window }
	s.start()
	var events []journal.Event
	for i := range operations {
		events = append(events, s.event(journal.Invite, fmt.Sprint("shop-", i), fmt.Sprint("i", i), fmt.Sprintf("s%d@example.com", i)))
	}
	began := time.Now()
	s.ingest(events...)
	<-s.j.OutboxChanged()
	s.finish()
	s.start()
	s.settle(30 * time.Second)
	took := time.Since(began)
	s.finish()
	load := s.box.Windows().Accounts[0]
	if load.Exceeded != 0 || load.Limited != 0 || load.Peak > limit || load.Requests != operations {
		t.Errorf("%+v, want %d requests, at most %d in a window", load, operations, limit)
	}
	// The restart costs a window at most.
	if ideal := operations / limit * window; took > 3*ideal {
		t.Errorf("took %v where %v would do", took, ideal)
	}
}

// The engine over the real journal against the sandbox, at 50 ms a call and a
// concurrency of 100: the share of what those two permit. An operation is an
// invitation, or an activation with its check: three calls for a pair.
func BenchmarkShareOfIdeal(b *testing.B) {
	const latency, concurrency = 50 * time.Millisecond, 100
	o := calm()
	o.Latency = latency
	benchmarkPool(b, o, concurrency, func(shops int) float64 {
		return float64(shops*3) / concurrency * latency.Seconds()
	})
}

// The same without latency: what the worker's own work costs.
func BenchmarkThroughput(b *testing.B) {
	benchmarkPool(b, calm(), 100, nil)
}

func benchmarkPool(b *testing.B, o sandbox.Options, concurrency int, ideal func(shops int) float64) {
	s := newService(b, o)
	s.change = func(c *engine.Config) { c.Concurrency, c.Logger = concurrency, nil }
	s.start()
	shops := max(b.N, 1)
	var events []journal.Event
	for i := range shops {
		shop := fmt.Sprint("shop-", i)
		events = append(events, s.event(journal.Invite, shop, fmt.Sprint("i", i), fmt.Sprintf("s%d@example.com", i)),
			s.event(journal.Activate, shop, fmt.Sprint("a", i), fmt.Sprint("code-", i)))
	}
	b.ResetTimer()
	for chunk := events; len(chunk) > 0; chunk = chunk[min(100, len(chunk)):] {
		s.ingest(chunk[:min(100, len(chunk))]...)
	}
	s.settle(10 * time.Minute)
	b.StopTimer()
	took := b.Elapsed().Seconds()
	b.ReportMetric(float64(len(events))/took, "events/s")
	if ideal != nil {
		b.ReportMetric(ideal(shops)/took, "of-ideal")
	}
	s.finish()
}
