package postgres

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Rows of permits are changed in one order, or replicas wait for each other in a
// circle.
func TestPermitsComeBackInOrder(t *testing.T) {
	p := newPermits()
	for i := range int64(50) {
		p.fewer[bucket{1, i}], p.more[bucket{1, 100 + i}] = 1, 1
	}
	var b pgx.Batch
	p.flush(&b, 0)
	for _, q := range b.QueuedQueries {
		if froms := q.Arguments[1].([]int64); len(froms) != 50 || !slices.IsSorted(froms) {
			t.Errorf("%v", froms)
		}
	}
}
