package postgres

import (
	"context"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// Capacity returns how much the database holds, including the space that its tables will
// use again. The free space is known only to the server's machine.
func (j *Journal) Capacity(ctx context.Context) (journal.Capacity, error) {
	r := journal.Capacity{Free: -1}
	err := j.read(ctx, "SELECT pg_database_size(current_database()), "+steps.WaitingEvents, func(x row) error {
		r.Used, r.Outbox = x.int(0), x.int(1)
		return nil
	})
	return r, err
}
