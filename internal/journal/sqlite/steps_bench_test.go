package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
)

// past lays operations into a journal with no other, by SQL: only what they look
// like matters. Shops of done ones have credentials, and were told of all.
var past = []string{
	`CREATE TEMP TABLE past AS WITH RECURSIVE n(g) AS (SELECT 0 WHERE ?1 + ?2 > 0 UNION ALL SELECT g + 1 FROM n WHERE g + 1 < ?1 + ?2)
		SELECT g, g < ?1 AS done, g >= ?1 AND g - ?1 < ?3 AS head, 1 + iif(g < ?1, g, g - ?1) % ?3 AS shop,
			CAST(printf('%016d', g * 7919 % 10000019) AS BLOB) AS bytes, unixepoch() * 1000000 AS now FROM n`,
	`INSERT INTO shop (id, account, name, sequence, version, merchant_id) SELECT DISTINCT shop, 1, 'old-' || shop, 20, 1, 'merchant-' || shop FROM past`,
	`INSERT INTO event (id, identity, shop, kind, exit, operation, topic, part, record_offset, event_time, received, digest, type, source, event_id, traceparent, tracestate, uuid, mac, key_scope, subject, subject_key)
		SELECT 1 + g, bytes, shop, 2, 1, 1 + g, 1, 0, g, now, now, bytes, 'shop.activation_code_entered', '/platform', 'old-event-' || g, '', '', bytes, bytes, 1, zeroblob(60), 1 FROM past`,
	`INSERT INTO operation (id, account, shop, kind, state, stage, due_at, lane, run, event, lane_order, planned, changed)
		SELECT 1 + g, 1, shop, 2, CASE WHEN done THEN 30 WHEN head THEN 3 ELSE 1 END, iif(head, 1, 0),
			iif(head, now + 3600000000, NULL), CASE WHEN done THEN NULL WHEN head THEN 1 ELSE 2 END, 1, 1 + g, 2 * (1 + g), now, now FROM past`,
	`INSERT INTO attempt (id, account, operation, number, flagged, started, send_by, deadline, slack, ledgers, ended, counts_from, answered, status)
		SELECT 1 + g, 1, 1 + g, 1, 0, now - 86400000000, now - 86400000000, now - 86400000000, 60000000, '', now - 86400000000, now - 86400000000, 1, 200 FROM past WHERE done`,
	`INSERT INTO credential (shop, version, operation, created, reference, merchant_id)
		SELECT shop, 1, 1 + g, now, 'ref+vault://old/' || shop || '?version=1', 'merchant-' || shop FROM past WHERE done AND g < ?3`,
	`INSERT INTO outbox (id, shop, operation, sequence, created, event, type, key, value, headers, published_at, part, record_offset)
		SELECT 1 + g, shop, 1 + g, 1, now, bytes, 'shop.invoicebox_activated', bytes, bytes, bytes, now, 0, g FROM past WHERE done`,
	`DROP TABLE past`,
}

// BenchmarkSteps measures the steps of operations beside what the journal holds.
func BenchmarkSteps(b *testing.B) {
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	measured := func(p journaltest.Past) *journaltest.Measured {
		path := filepath.Join(b.TempDir(), "journal.db")
		open := func() *Journal {
			j, err := Open(b.Context(), Options{Path: path, Planner: journaltest.Keeping})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = j.Close() })
			return j
		}
		j := open()
		journaltest.NewMeasured(b, j, keys, nil)
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
		lay(b, path, p)
		return journaltest.NewMeasured(b, open(), keys, nil)
	}
	empty := measured(journaltest.Past{})
	for _, p := range journaltest.Pasts(b) {
		full := measured(p)
		b.Run(p.Name, func(b *testing.B) { journaltest.MeasureSteps(b, empty, full) })
	}
}

// lay lays a past into the journal's file. Opening it again learns the ids.
func lay(b *testing.B, path string, p journaltest.Past) {
	b.Helper()
	if p.Shops == 0 {
		return
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	for _, statement := range past {
		if _, err := db.ExecContext(b.Context(), statement, p.Done, p.Waiting, p.Shops); err != nil {
			b.Fatalf("%v: %s", err, statement)
		}
	}
}
