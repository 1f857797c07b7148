package app

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite"

	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/testutil/pgtest"
)

// millionOperations lays operations into an empty journal by SQL: 790,000 that have ended,
// 200,000 that are open, half of them due in an hour, and 10,000 in attention; and 20,000
// events that wait to be published. NOW is an instant in microseconds.
var millionOperations = []string{
	`INSERT INTO account (name, partner_id, created) VALUES ('default', 'partner', NOW)`,
	`INSERT INTO shop (account, name) WITH RECURSIVE n(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM n WHERE g < 500000) SELECT 1, 'shop-' || g FROM n`,
	`INSERT INTO operation (id, account, shop, kind, state, stage, due_at, lane, run, event, lane_order, planned, changed, reason)
		WITH RECURSIVE n(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM n WHERE g < 1000000)
		SELECT g, 1, 1 + g % 500000, 1 + g % 2, CASE WHEN g <= 790000 THEN 30 WHEN g <= 800000 THEN 20 WHEN g <= 900000 THEN 3 ELSE 1 END,
			CASE WHEN g BETWEEN 800001 AND 900000 THEN 1 ELSE 0 END, CASE WHEN g BETWEEN 800001 AND 900000 THEN NOW + 3600000000 END,
			CASE WHEN g <= 800000 THEN NULL WHEN g <= 900000 THEN 1 ELSE 2 END, 1, g, 2 * g, NOW, NOW, CASE WHEN g BETWEEN 790001 AND 800000 THEN 'outcome_unknown' ELSE '' END FROM n`,
	`INSERT INTO outbox (id, shop, operation, sequence, created, event, type, key, value, headers, part, record_offset)
		WITH RECURSIVE n(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM n WHERE g < 20000)
		SELECT g, g, g, 1, NOW, CAST('event-' || g AS BYTES), 'shop.invoicebox_activated', CAST('' AS BYTES), CAST('' AS BYTES), CAST('' AS BYTES), 0, -1 FROM n`,
	`ANALYZE`,
}

// BenchmarkMetricsOfMillion scrapes a worker whose journal holds a million operations. A
// scrape must take less than 5 ms and 1 MiB. ms/read is what the journal takes for the
// figures, which no scrape waits for.
func BenchmarkMetricsOfMillion(b *testing.B) {
	for name, c := range map[string]struct {
		bytes string // the type
		// database makes one, and returns its address and what executes a statement.
		database func(b *testing.B) (address string, exec func(sql string))
	}{
		"SQLite": {"BLOB", func(b *testing.B) (string, func(string)) {
			b.Helper()
			path := filepath.Join(b.TempDir(), "journal.db")
			return "sqlite:" + path, func(text string) {
				b.Helper()
				db, err := sql.Open("sqlite", path)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = db.Close() }()
				if _, err := db.ExecContext(b.Context(), text); err != nil {
					b.Fatalf("%v: %s", err, text)
				}
			}
		}},
		"PostgreSQL": {"BYTEA", func(b *testing.B) (string, func(string)) {
			b.Helper()
			server := pgtest.Start(b)
			address := server.Database(b, "")
			name := address[strings.LastIndex(address, "/")+1 : strings.LastIndex(address, "?")]
			return address, func(text string) { server.Exec(b, name, text) }
		}},
	} {
		b.Run(name, func(b *testing.B) {
			o := Defaults()
			address, exec := c.database(b)
			o.JournalURL = address
			open := func() interface {
				statsReader
				capacityReader
				Close() error
			} {
				j, err := openJournal(b.Context(), &o, onboarding.NewPlanner(onboarding.PlannerOptions{Source: source}), quiet())
				if err != nil {
					b.Fatal(err)
				}
				return j
			}
			if err := open().Close(); err != nil { // makes the tables
				b.Fatal(err)
			}
			now := strings.NewReplacer("NOW", "1790000000000000", "BYTES", c.bytes)
			for _, text := range millionOperations {
				exec(now.Replace(text))
			}
			j := open()
			b.Cleanup(func() { _ = j.Close() })
			r := filling{prometheus.NewRegistry()}
			stats := allMetrics(r, j, j)
			began := time.Now()
			readOnce(b, stats)
			read := time.Since(began)
			if n := stats.last.Load().stats.Attention["outcome_unknown"]; n != 10_000 {
				b.Fatalf("%d operations in attention", n)
			}
			measureScrapes(b, r)
			b.ReportMetric(float64(read.Microseconds())/1000, "ms/read")
		})
	}
}

// measureScrapes scrapes as Prometheus does. The memory of the client is not included.
func measureScrapes(b *testing.B, gatherer prometheus.Gatherer) {
	b.Helper()
	handler := newHealth().handler(gatherer, false, quiet())
	request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil)
	var response discarder
	b.ReportAllocs()
	for b.Loop() {
		response = discarder{header: http.Header{}}
		handler.ServeHTTP(&response, request)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/scrape")
	b.ReportMetric(float64(response.size), "bytes/scrape")
	if response.size < 10_000 || response.size > 1<<20 {
		b.Errorf("a scrape has %d bytes", response.size)
	}
}

// A discarder is a response whose body is counted.
type discarder struct {
	header http.Header
	size   int
}

func (d *discarder) Header() http.Header         { return d.header }
func (d *discarder) WriteHeader(int)             {}
func (d *discarder) Write(b []byte) (int, error) { d.size += len(b); return len(b), nil }
