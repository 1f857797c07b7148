package journaltest

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// A Past is the content of a journal before its steps are measured: done and waiting
// operations, divided evenly among the shops. The first waiting operation of each shop is
// due in an hour, and the others are queued behind it.
type Past struct {
	Name                 string
	Done, Waiting, Shops int
}

// Pasts are the pasts for MeasureSteps. INVOICEBOX_BENCH_DONE is the number of done
// operations, 10,000 by default. In the first past a fifth as many wait, for a tenth as
// many shops. In the second a twentieth as many wait, all for one shop.
func Pasts(b *testing.B) []Past {
	b.Helper()
	done := 10_000
	if text := os.Getenv("INVOICEBOX_BENCH_DONE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 100 {
			b.Fatalf("INVOICEBOX_BENCH_DONE is %q: it must be a number from 100", text)
		}
		done = n
	}
	return []Past{{"many-shops", done, done / 5, done / 10}, {"one-shop", 0, done / 20, 1}}
}

// A Measured is a journal whose steps are measured. Begin it with [NewMeasured].
type Measured struct {
	m    *measure
	cost func() (statements, trips int64)
}

// NewMeasured inserts the account and the position into an empty journal. Cost returns how
// many statements its writer has sent so far, and in how many round trips; nil if there
// are none.
func NewMeasured(b *testing.B, j journal.Journal, keys *keyset.Set, cost func() (statements, trips int64)) *Measured {
	b.Helper()
	m := &measure{B: b, j: j, keys: keys}
	m.ok(j.EnsureAccount(b.Context(), account, "partner-1"))
	m.ok(j.InitPositions(b.Context(), []journal.Position{{Topic: topic}}))
	return &Measured{m, cost}
}

// The measured steps of an operation, each by itself.
const (
	stepIngest = iota
	stepClaim
	stepSend
	stepReceive
	stepApply
	stepPublish
	steps
)

var stepNames = [steps]string{"ingest", "claim", "send", "receive", "complete", "publish"}

const stepRounds = 30

// MeasureSteps measures the steps of operations in an empty journal and in one with a
// past, alternately, with one operation at a time and with a hundred. It reports the
// median time of an operation's step, the ratio of the two, and the statements and round
// trips of a step. Run it with -benchtime 1x.
func MeasureSteps(b *testing.B, empty, full *Measured) {
	b.Helper()
	for _, atOnce := range []int{1, 100} {
		b.Run(fmt.Sprintf("at-once=%d", atOnce), func(b *testing.B) {
			var took [2][steps][]time.Duration
			var statements, trips [steps]int64
			// The first round only prepares cached statements, and counts nothing.
			for round := range stepRounds + 1 {
				for i, x := range []*Measured{empty, full} {
					x.m.B = b
					x.round(atOnce, func(step int, d time.Duration, s, t int64) {
						if round == 0 {
							return
						}
						took[i][step] = append(took[i][step], d)
						if i == 0 {
							statements[step] += s
							trips[step] += t
						}
					})
				}
			}
			operations := float64(stepRounds * atOnce)
			var allStatements, allTrips float64
			for step, name := range stepNames {
				var µs [2]float64
				for i := range µs {
					slices.Sort(took[i][step])
					µs[i] = float64(took[i][step][stepRounds/2].Nanoseconds()) / 1000 / float64(atOnce)
				}
				b.ReportMetric(µs[0], "µs-"+name+"-empty")
				b.ReportMetric(µs[1]/µs[0], "x-"+name+"-full")
				if empty.cost != nil {
					b.ReportMetric(float64(statements[step])/operations, "statements-"+name)
					b.ReportMetric(float64(trips[step])/operations, "trips-"+name)
					allStatements += float64(statements[step]) / operations
					allTrips += float64(trips[step]) / operations
				}
			}
			if empty.cost != nil {
				b.ReportMetric(allStatements, "statements/op")
				b.ReportMetric(allTrips, "trips/op")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
	began := time.Now()
	_, err := full.m.j.Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("stats took %s", time.Since(began))
}

// round takes n operations through all of their steps, each step for all of them at once,
// and reports the time of each step.
func (x *Measured) round(n int, tell func(step int, d time.Duration, statements, trips int64)) {
	x.m.Helper()
	timed := func(step int, do func()) {
		var s, t int64
		if x.cost != nil {
			s, t = x.cost()
		}
		began := time.Now()
		do()
		d := time.Since(began)
		if x.cost != nil {
			s2, t2 := x.cost()
			s, t = s2-s, t2-t
		}
		tell(step, d, s, t)
	}
	m, ctx := x.m, x.m.Context()
	es := make([]journal.Event, n)
	for i := range es {
		es[i] = m.event(m.made)
		m.made++
	}
	timed(stepIngest, func() { m.take(es) })
	var os []journal.ClaimedOperation
	timed(stepClaim, func() { os = m.claim(n) })
	if len(os) != n {
		m.Fatalf("%d of %d operations can be claimed", len(os), n)
	}
	attempts, sealed := make([]journal.AttemptID, n), make([][]byte, n)
	each := func(step int, do func(i int, o journal.ClaimedOperation) error) {
		timed(step, func() {
			var all errgroup.Group
			for i, o := range os {
				all.Go(func() error { return do(i, o) })
			}
			m.ok(all.Wait())
		})
	}
	for i, o := range os {
		var err error
		sealed[i], err = m.keys.Seal(make([]byte, 400), keyset.AssociatedData("receipt", o.UUID.String()))
		m.ok(err)
	}
	each(stepSend, func(i int, o journal.ClaimedOperation) (err error) {
		attempts[i], err = m.j.BeginAttempt(ctx, sendOf(o, wide()))
		return err
	})
	each(stepReceive, func(i int, o journal.ClaimedOperation) error {
		end := journal.AttemptEnd{Answered: true, Status: 200, Outcome: "done"}
		_, _, err := m.j.SaveResponse(ctx, journal.Receipt{Ref: o.Ref, Attempt: attempts[i], Sealed: sealed[i], End: end})
		return err
	})
	each(stepApply, func(_ int, o journal.ClaimedOperation) error { return m.j.Apply(ctx, ended(o)) })
	timed(stepPublish, m.publish)
}

// ended returns the transition that makes an operation's shop active.
func ended(o journal.ClaimedOperation) journal.Transition {
	event := MakeDraft(schemas.EventID(o.UUID, o.Run, schemas.TypeActivated), schemas.TypeActivated, o.Shop)
	return journal.Transition{
		Ref: o.Ref, From: journal.Received, To: journal.Done, Verified: true,
		Credential: &journal.Credential{Shop: o.Shop, Version: o.NextVersion, Reference: "ref+vault://secret/invoicebox/default/" + o.Shop.Shop + "?version=1", MerchantID: "m-" + o.Shop.Shop},
		Active:     &journal.ActiveUpdate{At: time.Now(), Event: event.ID, Review: time.Now().Add(time.Hour)}, Publish: []journal.Draft{event},
	}
}
