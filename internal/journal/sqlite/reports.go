package sqlite

import (
	"context"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// workerFact is the fact of table meta that holds the worker's report: one process
// holds the file.
const workerFact = "worker"

// ReportWorker replaces the report.
func (j *Journal) ReportWorker(ctx context.Context, r journal.WorkerReport) error {
	return j.submit(ctx, 0, func(t *tx) error {
		_, err := t.exec(setMeta, workerFact, stored.PackReport(r, t.now))
		return err
	})
}

// EndReport takes the report away.
func (j *Journal) EndReport(ctx context.Context, _ uuid.UUID) error {
	return j.submit(ctx, 0, func(t *tx) error {
		_, err := t.exec("DELETE FROM meta WHERE name = ?", workerFact)
		return err
	})
}

// WorkerReports reads the report.
func (j *Journal) WorkerReports(ctx context.Context) (reports []journal.WorkerReport, err error) {
	err = j.read(ctx, "SELECT value FROM meta WHERE name = ?", in{workerFact}, func(scan scanner) error {
		var value []byte
		if err := scan(&value); err != nil {
			return err
		}
		if r, ok := stored.UnpackReport(value, j.clock.micros()); ok {
			reports = append(reports, r)
		}
		return nil
	})
	return reports, err
}

// UnknownSince reads since when the history is known.
func (j *Journal) UnknownSince(ctx context.Context) (at time.Time, err error) {
	err = j.read(ctx, "SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM meta WHERE name = 'history'", nil, func(scan scanner) error {
		var micros int64
		err := scan(&micros)
		if micros != 0 {
			at = wall(micros)
		}
		return err
	})
	return at, err
}
