package journal

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Reports store what running workers report about themselves, for commands beside them.
type Reports interface {
	// ReportWorker replaces the earlier report of this process. It deletes reports that
	// are older than [ReportsKept].
	ReportWorker(ctx context.Context, r WorkerReport) error
	// EndReport deletes the report of a worker that has stopped.
	EndReport(ctx context.Context, worker uuid.UUID) error
	// WorkerReports lists the last report of each worker, the newest first.
	WorkerReports(ctx context.Context) ([]WorkerReport, error)
}

// ReportsKept is how long the report of a killed worker is retained.
const ReportsKept = time.Hour

// A WorkerReport is what a worker reports.
type WorkerReport struct {
	Worker uuid.UUID     // made by the process
	Owner  string        // names the process for operators
	Age    time.Duration // set when it is read: by the journal's clock
	Facts  []byte        // the caller's; never a secret
}
