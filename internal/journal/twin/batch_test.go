package twin

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/internal/testutil/pgtest"
)

var rounds = flag.Int("twin.rounds", 60, "how many transactions of many calls each seed makes")

// TestTwinBatches compares the journals where one transaction has many calls. Both get
// the calls in one order, and each call fails or succeeds as on the other side.
func TestTwinBatches(t *testing.T) {
	server := pgtest.Start(t)
	runs := (*seeds + 1) / 2 // each takes as long as two of TestTwin
	if testing.Short() {
		runs = min(runs, 1)
	}
	for i := range runs {
		seed := *firstSeed + uint64(i) // #nosec G115 -- a small number
		if !t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newTwin(t, seed, newCover(), newSQLite(t), newPostgres(t, server))
			g := newGenerator(w)
			g.begin()
			_, _ = g.call("InitPositions", []journal.Position{{Topic: holding, Partition: 0, Next: 0}})
			for range *rounds {
				for range g.n(6) {
					g.step()
				}
				g.batch(2 + g.n(14))
			}
		}) {
			return
		}
	}
}

// holding begins the ids of events at which the planner waits, and with it the writer.
const holding = "holding"

// A gathered call shares a transaction with others.
type gathered struct {
	method string
	args   []any
}

// errGathered is the result of a gathered call that was not made yet.
var errGathered = errors.New("the call waits for others")

// batched are the methods whose calls are gathered: each of them is one request.
var batched = []string{
	"Ingest", "Claim", "BeginAttempt", "BeginCheck", "SaveResponse", "SaveResponseAndBeginCheck", "Apply", "ClaimReviews", "EndReview", "MarkPublished", "AppendIntent", "EndIntent", "SetCircuit", "ReserveTrial",
	"Prune", "EnsureAccount", "EndDestruction",
}

func (g *generator) gather(method string, args []any) error {
	if !slices.Contains(batched, method) || !g.fits(args) {
		return errGathered
	}
	g.gathered = append(g.gathered, gathered{method, args})
	if b, ok := args0[journal.Batch](args); ok {
		for _, p := range g.partitions {
			if p.topic == b.Topic && p.part == b.Partition && p.next == b.From {
				p.next = b.Next
			}
		}
	}
	return errGathered
}

// fits keeps apart the calls whose order in a transaction the databases may choose
// differently. A new run is behind the events that were numbered before, and PostgreSQL
// numbers those of a transaction before it decides anything. It also looks for the open
// invitations of deselected shops before the transaction begins.
func (g *generator) fits(args []any) bool {
	type aspects struct{ runs, opens, events, deselects bool }
	of := func(args []any) aspects {
		t, _ := args0[journal.Transition](args)
		b, _ := args0[journal.Batch](args)
		return aspects{t.NewRun, t.To.Open() && !t.From.Open(), len(b.Events) > 0, len(b.Deselected) > 0}
	}
	clash := func(a, b aspects) bool { return a.runs && b.events || a.opens && b.deselects }
	is := of(args)
	return !slices.ContainsFunc(g.gathered, func(c gathered) bool {
		other := of(c.args)
		return clash(is, other) || clash(other, is)
	})
}

// args0 returns the first argument if it has the type.
func args0[T any](args []any) (first T, ok bool) {
	if len(args) > 0 {
		first, ok = args[0].(T)
	}
	return first, ok
}

// batch makes some calls in one transaction of each journal.
func (g *generator) batch(n int) {
	actions := []func(){
		g.ingest, g.ingest, g.claim, g.claim, g.claim, g.send, g.send, g.send, g.receive, g.receive, g.apply, g.apply, g.apply, g.apply, g.apply, g.apply, g.check, g.claimReviews,
		g.endReview, g.endReview, g.markPublished, g.appendIntent, g.endIntent, g.endDestruction, g.circuit, g.trial, g.pruneResponses,
	}
	g.gathers = true
	for tries := 0; len(g.gathered) < n && tries < 10*n; tries++ {
		pick(g, actions)()
	}
	g.gathers = false
	calls := g.gathered
	g.gathered = nil
	if len(calls) == 0 {
		return
	}
	got, errs := g.together(calls)
	for i, c := range calls {
		if errs[i] == nil {
			g.learn(c, got[i])
		}
	}
	if list, err := g.call("Positions"); err == nil {
		for _, at := range list[0].([]journal.Position) {
			for _, p := range g.partitions {
				if p.topic == at.Topic && p.part == at.Partition {
					p.next = at.Next
				}
			}
		}
	}
}

// learn gives the result of a call to the generator.
func (g *generator) learn(c gathered, got []any) {
	of := func(r journal.ClaimRef, do func(h *held)) {
		for _, h := range g.held {
			if h.Ref == r {
				do(h)
			}
		}
	}
	switch a := c.args[0].(type) {
	case journal.Batch:
		g.events = append(g.events, a.Events...)
	case journal.ClaimRequest:
		for _, o := range got[0].([]journal.ClaimedOperation) {
			g.held = append(g.held, &held{ClaimedOperation: o, state: o.State})
		}
		g.held = slices.Clone(g.held[max(0, len(g.held)-40):])
	case journal.AttemptStart:
		of(a.Ref, func(h *held) {
			h.attempt, h.state, h.Attempts = got[0].(journal.AttemptID), journal.Sending, h.Attempts+1
		})
	case journal.Check:
		g.checks = append(g.checks, got[0].(journal.AttemptID))
	case journal.Receipt:
		if got[1].(bool) {
			of(a.Ref, func(h *held) { h.state = journal.Received })
		}
	case journal.Transition:
		of(a.Ref, func(h *held) { h.state = a.To })
	case journal.ReviewRequest:
		g.reviews = append(g.reviews, got[0].(journal.ClaimedReviews).Reviews...)
	}
}

// together makes calls of both journals while their writers are held, so that one
// transaction has all of them, and compares what comes of it. It returns the answers
// in the ids of the left side, and the errors.
func (g *generator) together(calls []gathered) ([][]any, []error) {
	g.Helper()
	g.history = append(g.history, fmt.Sprintf("%s together:", g.clock.at.Format("15:04:05.000000")))
	for _, c := range calls {
		g.history = append(g.history, fmt.Sprintf("    %s(%s)", c.method, bytesShown.ReplaceAllString(fmt.Sprintf("%+v", c.args), "[…]")))
	}
	shop := journal.ShopKey{Account: accounts[0], Shop: holding}
	e := journaltest.MakeEvent(g.T, g.keys, journal.Activate, shop, fmt.Sprint(holding, g.holds), "code", g.clock.at)
	e.Offset = g.holds
	hold := journal.Batch{Topic: holding, From: g.holds, Next: g.holds + 1, Events: []journal.Event{e}}
	g.holds++
	var got [2][][]any
	var errs [2][]error
	g.both(func(i int, s *side) {
		clear(s.views)
		clear(s.looks)
		got[i], errs[i] = make([][]any, len(calls)), make([]error, len(calls))
		var made sync.WaitGroup
		made.Go(func() {
			if _, err := g.callOne(g.ctx, i, s, "Ingest", []any{hold}); err != nil {
				g.Errorf("%s: the event that holds the writer: %v", s.name, err)
			}
		})
		<-s.held
		for k, c := range calls {
			ctx, done := journaltest.NewQueueing(g.ctx), make(chan struct{})
			made.Go(func() {
				defer close(done)
				got[i][k], errs[i][k] = g.callOne(ctx, i, s, c.method, c.args)
			})
			select {
			case <-ctx.Queued():
			case <-done:
			}
		}
		s.release <- struct{}{}
		made.Wait()
	})
	var differences []string
	for k, c := range calls {
		// A call with two mistakes may fail with either error.
		if left, right := errs[0][k], errs[1][k]; (left == nil) != (right == nil) {
			differences = append(differences, fmt.Sprintf("the errors of %s (%d) differ: %v, %v", c.method, k, left, right))
		}
	}
	g.equal("together", differences, func() (differences []string) {
		for k, c := range calls {
			for _, d := range g.compareAnswers([2][]any{got[0][k], got[1][k]}, [2]error{errs[0][k], errs[1][k]}) {
				differences = append(differences, fmt.Sprintf("%s (%d): %s", c.method, k, d))
			}
		}
		return differences
	})
	g.checkPromises(g.sides[0]) // the other has the same rows
	return got[0], errs[0]
}

// checkPromises looks for what both sides could break in the same way: operations of a
// shop that wait for a lane that nobody holds, two events of a shop in one place.
// Two can hold a lane: the generator
// brings answers to operations that have left theirs.
func (g *generator) checkPromises(s *side) {
	g.Helper()
	tables, err := s.tables(g.ctx, []move.Table{
		{Name: "operation", Keys: 1, Columns: []string{"id", "shop", "lane"}},
		{Name: "outbox", Keys: 1, Columns: []string{"id", "shop", "sequence"}},
	})
	if err != nil {
		g.Fatal(err)
	}
	held, waits := map[any]bool{}, map[any]bool{}
	for _, o := range tables[0] {
		switch o[2] {
		case stored.LaneHeld:
			held[o[1]] = true
		case stored.LaneQueued, stored.LaneLast:
			waits[o[1]] = true
		}
	}
	for shop := range waits {
		if !held[shop] {
			g.Errorf("%s: operations of shop %v wait for a lane that nobody holds", s.name, shop)
		}
	}
	places := map[[2]any]bool{}
	for _, o := range tables[1] {
		place := [2]any{o[1], o[2]}
		// Imported events have the offsets that the generator chose.
		if o[1] != nil && places[place] && g.cover.methods["ImportPublished"] == 0 {
			g.Errorf("%s: two events of shop %v have the sequence %v", s.name, o[1], o[2])
		}
		places[place] = true
	}
	if g.Failed() {
		g.Fatalf("-twin.seed=%d: the last calls:\n%s", g.seed, strings.Join(g.history[max(0, len(g.history)-20):], "\n"))
	}
}
