package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// workerFact begins the names of the facts of table meta that hold the workers'
// reports.
const workerFact = "worker/"

// ReportWorker replaces this worker's report.
func (j *Journal) ReportWorker(ctx context.Context, r journal.WorkerReport) error {
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		if _, err := t.exec(setMeta, workerFact+r.Worker.String(), stored.PackReport(r, t.now)); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM meta WHERE name LIKE 'worker/%' AND split_part(convert_from(value, 'UTF8'), ' ', 2)::bigint < $1",
			t.now-journal.ReportsKept.Microseconds())
		return err
	})
}

// EndReport takes this worker's report away.
func (j *Journal) EndReport(ctx context.Context, worker uuid.UUID) error {
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		_, err := t.exec("DELETE FROM meta WHERE name = $1", workerFact+worker.String())
		return err
	})
}

// WorkerReports reads the reports of all workers.
func (j *Journal) WorkerReports(ctx context.Context) (reports []journal.WorkerReport, err error) {
	err = j.read(ctx, "SELECT value FROM meta WHERE name LIKE 'worker/%'", func(r row) error {
		if report, ok := stored.UnpackReport(r.blob(0), j.clock.micros()); ok {
			reports = append(reports, report)
		}
		return nil
	})
	slices.SortFunc(reports, func(a, b journal.WorkerReport) int { return int(a.Age - b.Age) })
	return reports, err
}

// UnknownSince reads since when the history is known.
func (j *Journal) UnknownSince(ctx context.Context) (at time.Time, err error) {
	err = j.read(ctx, "SELECT value FROM meta WHERE name = 'history'", func(r row) error {
		if micros := number(r.blob(0)); micros != 0 {
			at = j.clock.instant(micros)
		}
		return nil
	})
	return at, err
}
