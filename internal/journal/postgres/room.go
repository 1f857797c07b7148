package postgres

import (
	"context"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// Capacity tells how much the database holds, with what its tables will use again.
// How much its disk can take only its own machine knows.
func (j *Journal) Capacity(ctx context.Context) (journal.Capacity, error) {
	r := journal.Capacity{Free: -1}
	err := j.read(ctx, "SELECT pg_database_size(current_database()), "+steps.WaitingEvents, func(x row) error {
		r.Used, r.Outbox = x.int(0), x.int(1)
		return nil
	})
	return r, err
}
