package journaltest

import (
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

var reports = []part{
	// A worker's report is replaced, ages and ends.
	{"ReportReplaced", func(f *fixture) {
		listed := func(want ...journal.WorkerReport) {
			f.Helper()
			got, err := f.j.WorkerReports(f.ctx)
			f.ok(err)
			diff(f.T, want, got)
		}
		listed()
		first := journal.WorkerReport{Worker: uuid.New(), Owner: "one host", Facts: []byte("{}")}
		f.ok(f.j.ReportWorker(f.ctx, first))
		first.Facts = []byte(`{"a": 1}`)
		f.ok(f.j.ReportWorker(f.ctx, first))
		f.clock.advance(3 * time.Second)
		first.Age = 3 * time.Second
		listed(first)
		f.crash()
		listed(first)
		f.ok(f.j.EndReport(f.ctx, first.Worker))
		listed()
		// A report of a worker that was killed is pruned by the next one's.
		f.ok(f.j.ReportWorker(f.ctx, first))
		f.clock.advance(journal.ReportsKept + time.Second)
		second := journal.WorkerReport{Worker: uuid.New(), Owner: "two", Facts: []byte("{}")}
		f.ok(f.j.ReportWorker(f.ctx, second))
		listed(second)
	}},
	// Since when the history is unknown can be read.
	{"UnknownSince", func(f *fixture) {
		at, err := f.j.UnknownSince(f.ctx)
		if err != nil || !at.IsZero() {
			f.Fatal(at, err)
		}
		f.ok(f.j.AssumeRateLimitUsed(f.ctx))
		if at, err = f.j.UnknownSince(f.ctx); err != nil || f.clock.now().Sub(at).Abs() > time.Millisecond {
			f.Fatal(at, f.clock.now(), err)
		}
	}},
}
