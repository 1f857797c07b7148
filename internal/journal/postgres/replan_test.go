package postgres

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/testutil/pgtest"
)

// What is read does not grow with the square of what comes, into tables that the
// server knows to be empty.
func TestAJournalThatBeginsEmptyReadsLittle(t *testing.T) {
	b := newBed(t, pgtest.Start(t, "autovacuum=off"))
	j := b.open()
	b.server.Exec(t, b.database(), "VACUUM ANALYZE")
	const batches, records = 60, 100
	for range batches {
		b.codes(j, records)
	}
	b.ok(j.Close()) // then the server has counted
	conn, err := pgx.Connect(t.Context(), b.url)
	b.ok(err)
	defer func() { _ = conn.Close(context.Background()) }()
	var read int64
	b.eventually("the server counts", func() bool {
		b.ok(conn.QueryRow(t.Context(), "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes").Scan(&read))
		return read > batches*records
	})
	t.Logf("%d rows were read", read)
	if most := int64(batches * records * 100); read > most {
		t.Errorf("%d rows were read for %d events, more than %d", read, batches*records, most)
	}
}
