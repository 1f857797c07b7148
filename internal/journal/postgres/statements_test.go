package postgres

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// statements remembers what was asked of a database.
type statements struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (s *statements) add(sql string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[sql] = true
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	s.add(d.SQL)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (s *statements) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	s.add(d.SQL)
}

func (s *statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// checkWide finds parameters that hold less than a number of ours can be. The
// server takes one that is first compared with a literal as a small one, and
// then refuses large numbers: terms of the relay lease are large.
func (s *statements) checkWide(t *testing.T, url string) {
	t.Helper()
	ctx := context.Background() // the test's own is over
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	looked := 0
	for sql := range s.seen {
		if !strings.Contains(sql, "$1") {
			continue
		}
		d, err := conn.Prepare(ctx, "", sql)
		if err != nil {
			t.Fatalf("%v: %s", err, sql)
		}
		looked++
		for i, oid := range d.ParamOIDs {
			// Advisory locks are two small numbers.
			if (oid == pgtype.Int4OID || oid == pgtype.Int2OID) && !strings.Contains(sql, "advisory") {
				t.Errorf("$%d is a small number in %s", i+1, sql)
			}
		}
	}
	if looked == 0 {
		t.Error("no statement was looked at")
	}
	t.Logf("%d statements", looked)
}
