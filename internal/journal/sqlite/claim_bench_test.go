//go:build unix

package sqlite

import (
	"fmt"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// load fills the journal with n operations that are done or that wait, of so
// many shops each, by SQL: only what they look like matters. The head of each
// shop is Waiting, due in an hour; the rest of the shop is Queued.
func (j *Journal) fillForBench(b *testing.B, n, perShop int, done bool) {
	b.Helper()
	const step = 10_000
	for from := 0; from < n; from += step {
		err := j.inWriter(b.Context(), func(t *tx) error {
			account := t.j.writer.accounts[benchAccount]
			for i := from; i < min(from+step, n); i++ {
				shop := int64(1_000_000 + i/perShop)
				if i%perShop == 0 {
					if _, err := t.exec("INSERT INTO shop (id, account, name) VALUES (?, ?, ?)", shop, account, fmt.Sprintf("old-%d", shop)); err != nil {
						return err
					}
				}
				state, stage, due, lane := journal.Done, int64(0), any(nil), any(nil)
				switch {
				case done:
				case i%perShop == 0:
					state, stage, due, lane = journal.Waiting, int64(journal.Call), t.now+int64(time.Hour/time.Microsecond), stored.LaneHeld
				default:
					state, lane = journal.Queued, stored.LaneQueued
				}
				event := next(&t.j.writer.ids.event)
				if _, err := t.exec(`INSERT INTO operation (id, account, shop, kind, state, stage, due_at, lane, run, event, lane_order, planned, changed)
					VALUES (?, ?, ?, 2, ?, ?, ?, ?, 1, ?, ?, ?, ?)`, event, account, shop, int64(state), stage, due, lane, event, stored.LaneOrder(event), t.now, t.now); err != nil {
					return err
				}
				u := [16]byte{1: byte(i >> 24), 2: byte(i >> 16), 3: byte(i >> 8), 4: byte(i)}
				if _, err := t.exec(`INSERT INTO event (id, shop, kind, exit, operation, topic, part, record_offset, event_time, received, digest, type, source, event_id, traceparent, tracestate,
						uuid, mac, key_scope, subject, subject_key)
					VALUES (?, ?, 2, 1, ?, 1, 0, ?, ?, ?, ?, 'shop.activation_code_entered', '/platform', ?, '', '', ?, ?, ?, ?, 1)`,
					event, shop, event, i, t.now, t.now, u[:], fmt.Sprintf("old-event-%d", i), u[:], u[:], account, make([]byte, 60)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// crowds are journals of different pasts.
var crowds = []struct {
	name       string
	n, perShop int
	done       bool
}{
	{"empty", 0, 1, true},
	{"1M-done", 1_000_000, 1, true},
	{"200k-wait-100k-shops", 200_000, 2, false},
	{"50k-wait-one-shop", 50_000, 50_000, false},
}

// BenchmarkClaim claims one operation that is due among those that are not,
// and ends it: the cost of a claim beside what the journal holds.
func BenchmarkClaim(b *testing.B) {
	for _, c := range crowds {
		b.Run(c.name, func(b *testing.B) {
			j, keys := benchJournal(b, b.TempDir())
			j.fillForBench(b, c.n, c.perShop, c.done)
			es := benchEvents(b, keys, 0, b.N, ownShop)
			for i := 0; i < len(es); i += chunk {
				k := min(i+chunk, len(es))
				if _, err := j.Ingest(b.Context(), journal.Batch{Topic: benchTopic, From: int64(i), Next: int64(k), Events: es[i:k]}); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			for range b.N {
				got, err := j.Claim(b.Context(), journal.ClaimRequest{Account: benchAccount, Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Hour})
				if err != nil {
					b.Fatal(err)
				}
				if len(got) != 1 {
					b.Fatalf("claimed %d", len(got))
				}
			}
			b.StopTimer()
			began := time.Now()
			const looks = 200
			for range looks {
				if _, err := j.Due(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(time.Since(began).Microseconds())/looks, "µs/due")
			began = time.Now()
			if _, err := j.Stats(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/stats")
			b.ReportMetric(resident(), "MB-resident")
		})
	}
}

// BenchmarkLane ends the head of one shop's lane of 50,000 and claims the next.
func BenchmarkLane(b *testing.B) {
	for _, n := range []int{100, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			j, _ := benchJournal(b, b.TempDir())
			j.fillForBench(b, n+b.N, n+b.N, false)
			b.ResetTimer()
			err := j.inWriter(b.Context(), func(t *tx) error {
				_, err := t.exec("UPDATE operation SET due_at = 0 WHERE due_at IS NOT NULL")
				return err
			})
			for n := 0; n < b.N && err == nil; n++ {
				var got []journal.ClaimedOperation
				if got, err = j.Claim(b.Context(), journal.ClaimRequest{Account: benchAccount, Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Hour}); err == nil {
					err = j.Apply(b.Context(), journal.Transition{Ref: got[0].Ref, From: journal.Claimed, To: journal.Done})
				}
			}
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkDeselected ingests batches of records for other providers: a look
// for each shop, and one position.
func BenchmarkDeselected(b *testing.B) {
	for _, c := range []struct{ shops, batch int }{{0, 500}, {100_000, 500}, {100_000, 5000}} {
		b.Run(fmt.Sprintf("shops=%d/batch=%d", c.shops, c.batch), func(b *testing.B) {
			j, _ := benchJournal(b, b.TempDir())
			j.fillForBench(b, c.shops, 1, false)
			keys := make([]journal.ShopKey, b.N)
			for i := range keys {
				// Every second one is known.
				keys[i] = journal.ShopKey{Account: benchAccount, Shop: fmt.Sprintf("old-%d", 1_000_000+i%max(2*c.shops, 1))}
			}
			b.ResetTimer()
			for from := 0; from < b.N; from += c.batch {
				to := min(from+c.batch, b.N)
				if _, err := j.Ingest(b.Context(), journal.Batch{Topic: benchTopic, From: int64(from), Next: int64(to), Deselected: keys[from:to]}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
