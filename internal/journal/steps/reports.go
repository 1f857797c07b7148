package steps

import (
	"cmp"
	"context"
	"slices"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const reportsRead Query = "SELECT name, value FROM meta WHERE name > $1 AND name < $2"

// reportNames are the bounds of the names of workers' reports: "0" is the character
// after "/".
func reportNames() []any { return []any{Worker.String() + "/", Worker.String() + "0"} }

func reportName(worker uuid.UUID) string { return Worker.String() + "/" + worker.String() }

// ReportWorker replaces this worker's report. If only one process can hold the
// database, it deletes the reports of earlier processes.
func (j *Journal) ReportWorker(ctx context.Context, r journal.WorkerReport) error {
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		own := reportName(r.Worker)
		var old []string
		each(u, reportsRead, reportNames(), func(f *factRow) {
			was, ok := stored.UnpackReport(f.Value, u.now)
			if f.Name != own && (j.db.Exclusive() || ok && was.Age > journal.ReportsKept) {
				old = append(old, f.Name)
			}
		})
		if len(old) > 0 {
			u.dropFacts(old)
		}
		value, err := stored.PackReport(r, u.now)
		if err != nil {
			return err
		}
		u.exec(factSet, own, value)
		return nil
	}})
}

// EndReport deletes this worker's report.
func (j *Journal) EndReport(ctx context.Context, worker uuid.UUID) error {
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		u.dropFacts([]string{reportName(worker)})
		return nil
	}})
}

// WorkerReports reads the reports of all workers, the newest first.
func (j *Journal) WorkerReports(ctx context.Context) (reports []journal.WorkerReport, err error) {
	now := j.db.Clock().Now()
	err = read(ctx, j, reportsRead, reportNames(), func(f *factRow) error {
		if r, ok := stored.UnpackReport(f.Value, now); ok {
			reports = append(reports, r)
		}
		return nil
	})
	slices.SortFunc(reports, func(a, b journal.WorkerReport) int { return cmp.Compare(a.Age, b.Age) })
	return reports, err
}
