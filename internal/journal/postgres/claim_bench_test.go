package postgres

import (
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
)

// past lays operations into a journal with no other, by SQL: only what they look
// like matters. Shops of done ones have credentials, and were told of all.
var past = []string{
	`CREATE TEMP TABLE past AS SELECT g, g < $1 AS done, g >= $1 AND g - $1 < $3 AS head, 1 + CASE WHEN g < $1 THEN g ELSE g - $1 END % $3 AS shop,
		decode(lpad(to_hex(g), 32, '0'), 'hex') AS bytes, (extract(epoch FROM now()) * 1000000)::bigint AS now
		FROM generate_series(0, $1::bigint + $2::bigint - 1) g`,
	`INSERT INTO shop (account, name, sequence, version, merchant_id) SELECT 1, 'old-' || g, 20, 1, 'merchant-' || g FROM generate_series(1, $3::bigint) g`,
	`INSERT INTO event (id, identity, shop, kind, exit, operation, topic, part, record_offset, event_time, received, digest, type, source, event_id, traceparent, tracestate, uuid, mac, key_scope, subject, subject_key)
		SELECT nextval('event_id'), sha256(bytes), shop, 2, 1, 1 + g, 1, 0, g, now, now, bytes, 'shop.activation_code_entered', '/platform', 'old-event-' || g, '', '', substr(sha256(bytes), 1, 16), sha256(bytes), 1, decode(repeat('00', 60), 'hex'), 1 FROM past`,
	`INSERT INTO operation (id, account, shop, kind, state, stage, due_at, lane, run, event, lane_order, planned, changed)
		SELECT 1 + g, 1, shop, 2, CASE WHEN done THEN 30 WHEN head THEN 3 ELSE 1 END, CASE WHEN head THEN 1 ELSE 0 END,
			CASE WHEN head THEN now + 3600000000 END, CASE WHEN done THEN NULL WHEN head THEN 1 ELSE 2 END, 1, 1 + g, 2 + 2 * g, now, now FROM past`,
	`INSERT INTO attempt (id, account, operation, number, flagged, replica, started, send_by, deadline, slack, ledgers, grain, ended, counts_from, answered, status)
		SELECT nextval('attempt_id'), 1, 1 + g, 1, 0, 1, now - 86400000000, now - 86400000000, now - 86400000000, 60000000, '', 1, now - 86400000000, now - 86400000000, 1, 200 FROM past WHERE done`,
	`INSERT INTO credential (shop, version, operation, created, reference, merchant_id)
		SELECT shop, 1, 1 + g, now, 'ref+vault://old/' || shop || '?version=1', 'merchant-' || shop FROM past WHERE done AND g < $3`,
	`INSERT INTO outbox (id, shop, operation, sequence, created, event, type, key, value, headers, published_at, part, record_offset)
		SELECT nextval('outbox_row'), shop, 1 + g, 1, now, substr(sha256(bytes), 1, 16), 'shop.invoicebox_activated', bytes, bytes, bytes, now, 0, g FROM past WHERE done`,
	`DROP TABLE past`,
	`VACUUM ANALYZE`,
	`CHECKPOINT`,
}

// BenchmarkSteps measures the steps of operations beside what the journal holds,
// and what they cost in statements and round trips.
func BenchmarkSteps(b *testing.B) {
	server := pgtest.Start(b)
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	measured := func(p journaltest.Past) *journaltest.Measured {
		url := server.Database(b, "")
		j, err := Open(b.Context(), Options{URL: url, Planner: journaltest.Keeping})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = j.Close() })
		m := journaltest.NewMeasured(b, j, keys, j.Statements)
		if p.Shops == 0 {
			return m
		}
		conn, err := pgx.Connect(b.Context(), url)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close(b.Context()) }()
		values := strings.NewReplacer("$1", strconv.Itoa(p.Done), "$2", strconv.Itoa(p.Waiting), "$3", strconv.Itoa(p.Shops))
		for _, sql := range past {
			if _, err := conn.Exec(b.Context(), values.Replace(sql)); err != nil {
				b.Fatalf("%v: %s", err, sql)
			}
		}
		return m
	}
	empty := measured(journaltest.Past{})
	for _, p := range journaltest.Pasts(b) {
		full := measured(p)
		b.Run(p.Name, func(b *testing.B) { journaltest.MeasureSteps(b, empty, full) })
	}
}
