package postgres

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/pgtest"
)

// crowds are journals of different pasts.
var crowds = []struct {
	name                   string
	done, waiting, perShop int
}{
	{"empty", 0, 0, 1},
	{"100k-done-20k-wait", 100_000, 20_000, 2},
	{"1M-done-200k-wait-100k-shops", 1_000_000, 200_000, 2},
	{"50k-wait-one-shop", 0, 50_000, 50_000},
}

// fill brings operations into the journal by SQL: only what they look like
// matters. Of those that wait the head of each shop is Waiting, due in an hour;
// the rest is Queued.
func (b *bed) fill(j *Journal, done, waiting, perShop int) {
	now := time.Now().UnixMicro()
	for _, x := range []step{
		{`INSERT INTO shop (account, name) SELECT 1, 'old-' || g FROM generate_series(0, $1::bigint) g`, []any{(done + waiting) / perShop}},
		{`INSERT INTO operation (id, account, shop, kind, state, stage, due_at, lane, run, event, turn, planned, changed)
			SELECT nextval('operation_id'), 1, 1 + g / $2::bigint, 2, CASE WHEN g < $1 THEN 30 WHEN g % $2 = 0 THEN 3 ELSE 1 END, CASE WHEN g >= $1 AND g % $2 = 0 THEN 1 ELSE 0 END,
				CASE WHEN g >= $1 AND g % $2 = 0 THEN $3::bigint + 3600000000 END, CASE WHEN g < $1 THEN NULL WHEN g % $2 = 0 THEN 1 ELSE 2 END, 1, nextval('event_id'), 2 * g, $3, $3
			FROM generate_series(0, $4::bigint - 1) g`, []any{int64(done), int64(perShop), now, done + waiting}},
		{`INSERT INTO operation_body (id, uuid, kind, mac, generation, key_scope, created, subject, subject_key)
			SELECT id, decode(lpad(to_hex(id), 32, '0'), 'hex'), 2, decode(lpad(to_hex(id), 32, '0'), 'hex'), 0, 1, planned, decode(repeat('00', 60), 'hex'), 1 FROM operation`, nil},
		{`INSERT INTO event (id, shop, kind, exit, operation, topic, part, record_offset, event_time, received, digest, type, source, event_id, traceparent, tracestate)
			SELECT event, shop, 2, 1, id, 1, 0, id, planned, planned, decode(lpad(to_hex(id), 32, '0'), 'hex'), 'shop.activation_code_entered', '/platform', 'old-event-' || id, '', '' FROM operation`, nil},
	} {
		if _, err := j.readers.Exec(b.Context(), "SET statement_timeout = 0"); err != nil {
			b.Fatal(err)
		}
		if _, err := j.readers.Exec(b.Context(), x.sql, x.args...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSteps claims operations among those that are not due, sends, receives
// and ends them: the cost beside what the journal holds.
func BenchmarkSteps(b *testing.B) {
	server := pgtest.Start(b)
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range crowds {
		b.Run(c.name, func(b *testing.B) {
			bed := &bed{TB: b, server: server, url: server.Database(b, ""), keys: keys}
			j := bed.open()
			bed.fill(j, c.done, c.waiting, c.perShop)
			for n := b.N; n > 0; n -= min(n, 100) {
				bed.codes(j, min(n, 100))
			}
			wide := permit(1_000_000, 30*time.Second)
			statements, trips := j.Statements()
			var claims time.Duration
			b.ResetTimer()
			for left := b.N; left > 0; {
				began := time.Now()
				got := bed.claim(j, journal.Call, 100, time.Hour)
				claims += time.Since(began)
				if len(got) == 0 {
					b.Fatal("nothing can be claimed")
				}
				left -= len(got)
				var all errgroup.Group
				for _, o := range got {
					all.Go(func() error { return bed.step(j, o, wide) })
				}
				if err := all.Wait(); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			s, t := j.Statements()
			b.ReportMetric(float64(s-statements)/float64(b.N), "statements/op")
			b.ReportMetric(float64(t-trips)/float64(b.N), "trips/op")
			b.ReportMetric(float64(claims.Microseconds())/float64(b.N), "µs-claim/op")
			began := time.Now()
			if _, err := j.Stats(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/stats")
			bed.ok(j.Close())
		})
	}
}

// step takes an operation from its claim to its end.
func (b *bed) step(j *Journal, o journal.ClaimedOperation, p journal.Permit) error {
	id, err := j.Send(b.Context(), journal.Send{Ref: o.Ref, Attempt: 1, SendBy: time.Second, Deadline: 30 * time.Second, Permits: []journal.Permit{p}})
	if err != nil {
		return err
	}
	sealed, err := b.keys.Seal([]byte("answer"), keyset.Row("receipt", o.UUID.String()))
	if err != nil {
		return err
	}
	end := journal.AttemptEnd{Answered: true, At: time.Now(), Status: 200}
	if _, _, err := j.Receive(b.Context(), journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, End: end}); err != nil {
		return err
	}
	return j.Apply(b.Context(), journal.Transition{
		Ref: o.Ref, From: journal.Received, To: journal.Done, Verified: true, Supersede: "newer_code",
		Credential: &journal.Credential{Shop: o.Shop, Version: 1, Reference: "ref+vault://" + o.Shop.Shop, MerchantID: "m-" + o.Shop.Shop},
		Active:     &journal.ActiveUpdate{At: time.Now(), Review: time.Now().Add(time.Hour)},
		Publish:    []journal.Draft{journaltest.MakeDraft(o.UUID, fmt.Sprint("activated-", o.Ref.Operation), o.Shop)},
	})
}
