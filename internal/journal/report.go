package journal

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Reports are the journal's part in which running workers say how they stand, for
// commands beside them.
type Reports interface {
	// ReportWorker replaces what this process reported before. It forgets reports
	// that are older than [ReportsKept].
	ReportWorker(ctx context.Context, r WorkerReport) error
	// EndReport says that the worker has stopped.
	EndReport(ctx context.Context, worker uuid.UUID) error
	// WorkerReports lists what workers reported last, the newest first.
	WorkerReports(ctx context.Context) ([]WorkerReport, error)
}

// ReportsKept is how long the report of a worker that was killed is kept.
const ReportsKept = time.Hour

// A WorkerReport is what a worker reports.
type WorkerReport struct {
	Worker uuid.UUID     // made by the process
	Owner  string        // names the process for people
	Age    time.Duration // when it is read: how old it is, by the journal's clock
	Facts  []byte        // the caller's; never a secret
}
