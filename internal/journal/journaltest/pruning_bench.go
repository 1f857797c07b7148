package journaltest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// The rows that MeasurePruning inserts, and its work beside them.
const (
	prunedShops      = 2000
	prunedRepeats    = 9 // of each shop's event
	forgettingAtOnce = 16
	pruningFor       = 3 * time.Second // of each phase
	forgettingPage   = 100
	forgettingRest   = 10 * time.Millisecond
)

// Keeping is a planner that begins an operation for each new code or address, and nothing
// for a later event.
func Keeping(e journal.Event, v journal.ShopView) journal.Plan {
	if v.Same != nil {
		return journal.Plan{}
	}
	return Plain(e, v)
}

// MeasurePruning makes shops active, with more events of each, and lets them become old.
// It measures how many bytes of a shop remain, and for how long responses take to be
// durable, with and without Prune beside them. The journal's planner is Keeping. Later
// advances its clock; used returns how many bytes are in use.
func MeasurePruning(b *testing.B, j journal.Journal, keys *keyset.Set, later func(time.Duration), used func() int64) {
	b.Helper()
	m := &measure{B: b, j: j, keys: keys}
	m.ok(j.EnsureAccount(b.Context(), account, "partner-1"))
	m.ok(j.InitPositions(b.Context(), []journal.Position{{Topic: topic}}))
	before := used()
	m.fill(prunedShops)
	full := used()
	later(kept + time.Hour)
	m.fresh(1) // the newest rows of all stay
	for after, what := int64(0), journal.PruneResponses; what <= journal.PruneDeadLetters; {
		got, err := j.Prune(b.Context(), journal.Prune{What: what, Keep: kept, After: after, Limit: 1000, Uptime: 365 * day})
		m.ok(err)
		if after = got.Next; after == 0 {
			what++
		}
	}
	b.ReportMetric(float64((full-before)/prunedShops), "B/shop-before")
	b.ReportMetric(float64((used()-before)/prunedShops), "B/shop-after")
	m.work(m.claim(1), nil)
	m.fill(prunedShops)
	later(kept + time.Hour)
	m.fresh(1)
	without := m.phase(nil)
	pruned, stop := atomic.Int64{}, make(chan struct{})
	with := m.phase(func(ctx context.Context) {
		defer close(stop)
		for ctx.Err() == nil {
			for _, what := range journal.PruneTargets() {
				for after, worked := int64(0), 365*day; ctx.Err() == nil; worked = 0 {
					got, err := j.Prune(ctx, journal.Prune{What: what, Keep: kept, After: after, Limit: forgettingPage, Uptime: worked})
					pruned.Add(int64(got.Rows))
					if after = got.Next; err != nil || after == 0 {
						break
					}
					select {
					case <-ctx.Done():
					case <-time.After(forgettingRest):
					}
				}
			}
		}
	})
	<-stop
	again := m.phase(nil)
	b.ReportMetric(float64(pruned.Load())/pruningFor.Seconds(), "rows-pruned/s")
	b.ReportMetric(float64(pruned.Load()), "rows-pruned")
	for name, p := range map[string][]time.Duration{"without": without, "with": with, "again": again} {
		b.ReportMetric(float64(p[len(p)*99/100].Microseconds())/1000, "ms-p99-"+name)
		b.ReportMetric(float64(len(p))/pruningFor.Seconds(), "receipts/s-"+name)
	}
}

type measure struct {
	*testing.B
	j    journal.Journal
	keys *keyset.Set
	next int64
	made int
}

func (m *measure) ok(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// event returns an event of shop i, a new one each time.
func (m *measure) event(i int) journal.Event {
	e := MakeEvent(m, m.keys, journal.Activate, shopKey(fmt.Sprintf("shop-%07d", i)), fmt.Sprintf("event-%d-of-%d", m.next, i), fmt.Sprintf("code-%d", i), time.Now())
	e.Offset = m.next
	m.next++
	return e
}

func (m *measure) take(es []journal.Event) {
	_, err := m.j.Ingest(m.Context(), journal.Batch{Topic: topic, From: m.next - int64(len(es)), Next: m.next, Events: es})
	m.ok(err)
}

func (m *measure) fresh(n int) {
	es := make([]journal.Event, n)
	for i := range es {
		es[i] = m.event(m.made)
		m.made++
	}
	m.take(es)
}

// fill makes n shops active, with more events of each, and publishes that.
func (m *measure) fill(n int) {
	first := m.made
	for range n / 100 {
		m.fresh(100)
		m.work(m.claim(100), nil)
	}
	for range prunedRepeats {
		for from := first; from < m.made; from += 100 {
			es := make([]journal.Event, 100)
			for i := range es {
				es[i] = m.event(from + i)
			}
			m.take(es)
		}
	}
	m.publish()
}

func (m *measure) claim(n int) []journal.ClaimedOperation {
	got, err := m.j.Claim(m.Context(), journal.ClaimRequest{Account: account, Kind: journal.Activate, Stage: journal.Call, Limit: n, Lease: time.Hour})
	m.ok(err)
	return got
}

// work takes operations to their ends, some concurrently, and measures for how long each
// response took to be durable.
func (m *measure) work(os []journal.ClaimedOperation, took func(time.Duration)) {
	var all errgroup.Group
	all.SetLimit(forgettingAtOnce)
	for _, o := range os {
		all.Go(func() error { return m.one(o, took) })
	}
	m.ok(all.Wait())
}

func (m *measure) one(o journal.ClaimedOperation, took func(time.Duration)) error {
	ctx := m.Context()
	id, err := m.j.BeginAttempt(ctx, sendOf(o, wide()))
	if err != nil {
		return err
	}
	sealed, err := m.keys.Seal(make([]byte, 400), keyset.AssociatedData("receipt", o.UUID.String()))
	if err != nil {
		return err
	}
	began := time.Now()
	if _, _, err := m.j.SaveResponse(ctx, journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, End: journal.AttemptEnd{Answered: true, Status: 200, Outcome: "done"}}); err != nil {
		return err
	}
	if took != nil {
		took(time.Since(began))
	}
	return m.j.Apply(ctx, ended(o))
}

func (m *measure) publish() {
	for {
		out, err := m.j.Pending(m.Context(), 0, 1000, 1<<30)
		m.ok(err)
		if len(out) == 0 {
			return
		}
		var ps []journal.Published
		for _, o := range out {
			ps = append(ps, journal.Published{Row: o.Row, Offset: o.Row})
		}
		m.ok(m.j.MarkPublished(m.Context(), ps))
	}
}

// phase works for some time, with beside running, and returns how long the responses took,
// the shortest first.
func (m *measure) phase(beside func(context.Context)) (took []time.Duration) {
	ctx, cancel := context.WithTimeout(m.Context(), pruningFor)
	defer cancel()
	if beside != nil {
		go beside(ctx)
	}
	var mu sync.Mutex
	for ctx.Err() == nil {
		m.fresh(100)
		m.work(m.claim(100), func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			took = append(took, d)
		})
	}
	slices.Sort(took)
	return took
}
