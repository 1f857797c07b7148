//go:build unix

package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// chunk is how many records a consumer hands over at once.
const chunk = 100

func benchJournal(b *testing.B, dir string) (*Journal, *keyset.Set) {
	b.Helper()
	keys, err := keyset.New()
	if err != nil {
		b.Fatal(err)
	}
	j, err := Open(b.Context(), Options{Path: filepath.Join(dir, "journal.db"), Planner: journaltest.Plain})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	if err := j.EnsureAccount(b.Context(), benchAccount, "partner"); err != nil {
		b.Fatal(err)
	}
	if err := j.InitPositions(b.Context(), []journal.Position{{Topic: benchTopic}}); err != nil {
		b.Fatal(err)
	}
	return j, keys
}

// events makes n activations, each of a shop of its own, ahead of the clock.
func benchEvents(b *testing.B, keys *keyset.Set, from, n int, shop func(i int) string) []journal.Event {
	es := make([]journal.Event, n)
	for i := range es {
		es[i] = journaltest.MakeEvent(b, keys, journal.Activate, journal.ShopKey{Account: benchAccount, Shop: shop(from + i)},
			fmt.Sprintf("event-%09d", from+i), fmt.Sprintf("code-%09d", from+i), time.Now())
		es[i].Offset = int64(from + i)
	}
	return es
}

func ownShop(i int) string { return fmt.Sprintf("shop-%09d", i) }

// A chain runs every durable step of n activations with so many workers.
type chain struct {
	j        *Journal
	keys     *keyset.Set
	workers  int
	latency  time.Duration // of the call
	checked  bool          // with the check of the token
	slots    chan struct{} // calls in flight
	receipts []time.Duration
	mu       sync.Mutex
}

func (c *chain) run(b *testing.B, es []journal.Event) {
	done, cancel := context.WithCancel(b.Context())
	defer cancel()
	g, ctx := errgroup.WithContext(done)
	g.Go(func() error {
		for len(es) > 0 {
			n := min(chunk, len(es))
			batch := journal.Batch{Topic: benchTopic, From: es[0].Offset, Next: es[n-1].Offset + 1, Events: es[:n]}
			if _, err := c.j.Ingest(ctx, batch); err != nil {
				return err
			}
			es = es[n:]
		}
		return nil
	})
	total := int64(len(es))
	var completed, published atomic.Int64
	work := make(chan journal.ClaimedOperation, c.workers)
	g.Go(func() error {
		defer close(work)
		claimed := int64(0)
		for claimed < total {
			ops, err := c.j.Claim(ctx, journal.ClaimRequest{
				Account: benchAccount, Kind: journal.Activate, Stage: journal.Call, Limit: c.workers, Lease: time.Minute, Owner: "bench",
			})
			if err != nil {
				return err
			}
			claimed += int64(len(ops))
			for _, o := range ops {
				work <- o
			}
			if len(ops) == 0 {
				select {
				case <-c.j.Changed():
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	sealed, err := c.keys.Seal([]byte(strings.Repeat("r", 900)), "receipt")
	if err != nil {
		b.Fatal(err)
	}
	for range c.workers {
		g.Go(func() error {
			for o := range work {
				if err := c.one(ctx, o, sealed); err != nil {
					return err
				}
				completed.Add(1)
			}
			return nil
		})
	}
	g.Go(func() error {
		after := int64(0)
		for published.Load() < total {
			rows, err := c.j.Pending(ctx, after, 500, 1<<20)
			if err != nil {
				return err
			}
			marks := make([]journal.Published, len(rows))
			for i, r := range rows {
				marks[i] = journal.Published{Row: r.Row, Offset: -1}
				after = r.Row
			}
			if err := c.j.MarkPublished(ctx, marks); err != nil {
				return err
			}
			published.Add(int64(len(rows)))
			if len(rows) == 0 {
				select {
				case <-c.j.OutboxChanged():
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

func (c *chain) one(ctx context.Context, o journal.ClaimedOperation, sealed []byte) error {
	c.slots <- struct{}{}
	id, err := c.j.BeginAttempt(ctx, journal.AttemptStart{
		Ref: o.Ref, Attempt: o.Attempts + 1, SendBy: 5 * time.Second, Deadline: 30 * time.Second,
		Permits: []journal.Permit{
			{RateLimit: "account/default", Limit: 1_000_000, Window: 30 * time.Second, Slack: time.Minute},
			{RateLimit: "egress", Limit: 1_000_000, Window: 30 * time.Second, Slack: time.Minute},
		},
	})
	if err != nil {
		return err
	}
	if c.latency > 0 {
		<-time.After(c.latency)
	}
	// The slot covers the call, not the journal's waits.
	<-c.slots
	began := time.Now()
	end := journal.AttemptEnd{Answered: true, At: began, Status: 200, Outcome: "done", RequestID: "0123456789abcdef"}
	receipt := journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, End: end}
	var check journal.AttemptID
	if c.checked {
		_, _, check, err = c.j.SaveResponseAndBeginCheck(ctx, receipt, journal.Check{
			Account: benchAccount, SendBy: 5 * time.Second, Deadline: 30 * time.Second,
			Permits: []journal.Permit{{RateLimit: "egress", Limit: 1_000_000, Window: 30 * time.Second, Slack: time.Minute}},
		})
	} else {
		_, _, err = c.j.SaveResponse(ctx, receipt)
	}
	if err != nil {
		return err
	}
	took := time.Since(began)
	c.mu.Lock()
	c.receipts = append(c.receipts, took)
	c.mu.Unlock()
	event := schemas.EventID(o.UUID, o.Run, schemas.TypeActivated)
	done := journal.Transition{
		Ref: o.Ref, From: journal.Received, To: journal.Done, Active: &journal.ActiveUpdate{At: time.Now(), Event: event},
		Credential: &journal.Credential{
			Shop: o.Shop, Version: 1, Reference: "ref+sealed://invoicebox/" + o.Shop.Shop + "?version=1", MerchantID: "merchant-" + o.Shop.Shop,
			Sealed: sealed[:200],
		},
		Publish: []journal.Draft{{ID: event, Type: schemas.TypeActivated, Freeze: func(n int64) (schemas.Message, error) {
			return schemas.Message{Key: []byte(o.Shop.Shop), Value: make([]byte, 500), Headers: []schemas.Header{
				{Key: "ce_id", Value: []byte(event.String())}, {Key: "ce_sequence", Value: fmt.Append(nil, n)},
			}}, nil
		}}},
	}
	if c.checked {
		done.Attempt, done.End = check, &end
	}
	return c.j.Apply(ctx, done)
}

// BenchmarkChain is the journal alone, durable: ingest, claim, send, receive,
// apply, mark published. An operation is one event.
func BenchmarkChain(b *testing.B) {
	for _, x := range []struct {
		name    string
		workers int
		latency time.Duration
		checked bool
	}{
		{"workers=100", 100, 0, false},
		{"workers=250", 250, 0, false},
		{"workers=250/verified", 250, 0, true},
		// Operations in flight are more than calls in flight: 100 slots.
		{"workers=250/latency=50ms", 250, 50 * time.Millisecond, false},
	} {
		b.Run(x.name, func(b *testing.B) {
			j, keys := benchJournal(b, b.TempDir())
			es := benchEvents(b, keys, 0, b.N, ownShop)
			c := &chain{j: j, keys: keys, workers: x.workers, latency: x.latency, checked: x.checked, slots: make(chan struct{}, 100)}
			if x.latency == 0 {
				c.slots = make(chan struct{}, x.workers)
			}
			b.ResetTimer()
			before, bytes := cpu(), written()
			c.run(b, es)
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/event")
			b.ReportMetric((written()-bytes)/float64(b.N)/1024, "KB-written/event")
			report(b, c)
		})
	}
}

func report(b *testing.B, c *chain) {
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "events/s")
	if c.latency > 0 {
		ideal := float64(cap(c.slots)) / c.latency.Seconds()
		b.ReportMetric(rate/ideal, "of-ideal")
	}
	slices.Sort(c.receipts)
	b.ReportMetric(float64(c.receipts[len(c.receipts)*99/100].Microseconds())/1000, "receipt-p99-ms")
}

// cpu is what the process has used: on a shared machine it tells more than time.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the process's memory in MB, 0 where the system does not say.
func resident() float64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages float64
	if _, err := fmt.Sscan(string(raw), &size, &pages); err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

// written is what the process has handed to the system to write, in bytes.
func written() float64 {
	raw, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	var n float64
	for line := range strings.Lines(string(raw)) {
		if _, err := fmt.Sscanf(line, "wchar: %f", &n); err == nil {
			return n
		}
	}
	return 0
}
