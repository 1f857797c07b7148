package onboarding

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/schemas"
)

var (
	simSeed  = flag.Uint64("sim.seed", 1, "the simulation's first seed")
	simSeeds = flag.Int("sim.seeds", 0, "how many seeds the simulation runs; 0: as many as are usual")
	simAll   = flag.Bool("sim.all", false, "go on after a seed that fails")
	simPrint = flag.Bool("sim.trace", false, "print the whole trace of every seed")
)

// simSetup is what a run is made of, before anything happens.
type simSetup struct {
	accounts     []string
	shops, codes int
	records      int
	steps        int // with faults, at least
	replicas     int
	requests     int
	window       time.Duration
	coolDown     time.Duration
	config       Config
	scale        time.Duration // by which all times are shorter than usual
}

func drawSetup(r *rand.Rand) simSetup {
	d := simSetup{
		accounts: []string{"default", "second"}[:1+r.IntN(2)], shops: 1 + r.IntN(4), codes: 1 + r.IntN(4), records: 4 + r.IntN(16),
		steps: 100 + r.IntN(500), replicas: 1 + r.IntN(3)/2, requests: 1 + r.IntN(5), window: 30 * time.Second, coolDown: 24 * time.Hour,
	}
	d.config = Config{
		Concurrency: len(d.accounts) + r.IntN(4), EgressRequests: d.requests + r.IntN(20), UnknownOutcome: ProbeOnce,
	}.withDefaults()
	if d.scale = 6; r.IntN(5) == 0 {
		d.scale = 1
	}
	// All times of the configuration shrink alike: a run of fewer idle looks.
	for _, x := range []*time.Duration{
		&d.window, &d.coolDown, &d.config.EgressWindow, &d.config.Lease, &d.config.RequestDeadline, &d.config.Slack, &d.config.QuietPeriod, &d.config.DrainTime,
		&d.config.VerifyFor, &d.config.WaitCap, &d.config.RestCap, &d.config.LimitCap, &d.config.TokenCheckBase, &d.config.TokenCheckCap,
	} {
		*x /= d.scale
	}
	if r.IntN(4) == 0 {
		d.config.UnknownOutcome = Hold
	}
	if r.IntN(4) == 0 {
		d.config.MaximumAge = 20 * time.Minute / d.scale
	}
	if r.IntN(3) == 0 {
		d.requests, d.config.EgressRequests, d.coolDown = 100, 500, 10*time.Minute/d.scale
	}
	if r.IntN(4) == 0 {
		d.config.QuietPeriod = d.config.Slack
	}
	return d
}

// simResult is what a run came to.
type simResult struct {
	digest  string
	broken  string
	lines   []string
	counts  map[string]int
	steps   int
	virtual time.Duration
}

// simulate runs one seed over a copy of the empty journal.
func simulate(t *testing.T, dir string, empty []byte, seed uint64) (result simResult) {
	path := filepath.Join(dir, fmt.Sprintf("seed-%d.db", seed))
	if err := os.WriteFile(path, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
			_ = os.Remove(path + suffix)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s := &sim{
			t: t, rng: rand.New(rand.NewPCG(seed, 0x51ab)), began: time.Now(), trace: newSimTrace(), yielded: make(chan *proc), path: path, counts: map[string]int{},
		}
		s.setup = drawSetup(s.rng)
		s.book, s.box, s.topic = newSimBook(s), newSimBox(s), newSimTopic(s)
		s.inputs = newSimInputs(s, s.setup.records)
		s.workers = make([]*simWorker, s.setup.replicas)
		s.faults.on = true
		s.openJournal()
		for slot := range s.workers {
			s.startWorker(slot)
		}
		s.spawn(nil, "platform", s.inputs.platform)
		for s.broken == "" && (s.inputs.left > 0 || s.steps < s.setup.steps) && s.steps < 20_000 {
			s.step()
		}
		s.settle()
		s.kill(func(*proc) bool { return true })
		if s.j != nil {
			s.closeJournal()
		}
		result = simResult{s.digest(), s.broken, s.trace.lines, s.counts, s.steps, time.Since(s.began)}
	})
	return result
}

// What must be enough for everything that is due, once the faults have stopped.
const (
	simSettleTime  = 4 * time.Hour
	simSettleSteps = 60_000
)

// settle ends the faults and waits until nothing is left to do.
func (s *sim) settle() {
	if s.broken != "" {
		return
	}
	s.note("the faults end")
	s.faults = simFaults{}
	s.box.mood = ""
	clear(s.box.revoked)
	began, steps := time.Now(), s.steps
	for s.broken == "" {
		if s.idle && s.quiet() {
			s.finally()
			return
		}
		if time.Since(began) > simSettleTime || s.steps-steps > simSettleSteps {
			stats, _ := s.j.Stats(context.Background())
			s.wrong("after %v and %d steps without a fault there is work left: %v, outbox %d", time.Since(began), s.steps-steps, stats.Operations, stats.Outbox)
		}
		s.step()
	}
}

// within draws a time, as long as the run's times are.
func (s *sim) within(limit time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(limit / s.setup.scale)))
}

// quiet tells whether all is done. A person opens what only a person can open.
func (s *sim) quiet() bool {
	ctx := context.Background()
	if s.j == nil || s.inputs.left > 0 || s.box.flying() {
		return false
	}
	for _, p := range s.procs {
		if p.task {
			return false
		}
	}
	accounts, err := s.j.Accounts(ctx)
	if err != nil {
		s.wrong("accounts: %v", err)
	}
	for _, a := range accounts {
		if g := a.Gate; g.State == journal.GatePaused && g.Reason != string(ReasonToken) && g.Reason != string(ReasonAddress) {
			s.note("a person opens %s", a.Name)
			if err := s.j.SetGate(ctx, a.Name, journal.Gate{State: journal.GateOpen, Since: time.Now()}, nil); err != nil {
				s.wrong("open the gate: %v", err)
			}
		}
	}
	positions, err := s.j.Positions(ctx)
	if err != nil {
		s.wrong("positions: %v", err)
	}
	for _, p := range positions {
		if p.Next < int64(len(s.inputs.log[p.Partition])) {
			return false
		}
	}
	stats, err := s.j.Stats(ctx)
	if err != nil {
		s.wrong("stats: %v", err)
	}
	for k, n := range stats.Operations {
		if n > 0 && k.State.Open() {
			return false
		}
	}
	return stats.Outbox == 0
}

func (b *simBox) flying() bool {
	return slices.ContainsFunc(b.open, func(r *simRequest) bool { return !r.arrived || r.ended.IsZero() })
}

// secret opens a credential's row.
func (s *sim) secret(c journal.Credential) (merchant, token string, ok bool) {
	text, err := s.keys.Open(c.Sealed, simRow(c.Shop, c.Version))
	if err != nil {
		return "", "", false
	}
	m, tok, ok := bytes.Cut(text, []byte{0})
	return string(m), string(tok), ok
}

// finally looks at the whole when all is done.
func (s *sim) finally() {
	ctx := context.Background()
	for _, account := range s.setup.accounts {
		for i := range s.setup.shops {
			k := journal.ShopKey{Account: account, Shop: fmt.Sprint("shop-", i)}
			h, err := s.j.Shop(ctx, k)
			if err != nil {
				continue // it never appeared
			}
			s.finishedShop(k, h)
		}
	}
	for id, r := range s.inputs.taken {
		h, err := s.j.Shop(ctx, r.shop)
		if err != nil || !slices.ContainsFunc(h.Events, func(e journal.EventRecord) bool { return e.ID == id }) {
			s.wrong("record %s is in none of inbox and dead letters", id)
		}
	}
	for part, log := range s.inputs.log {
		for _, r := range log {
			if _, known := s.inputs.taken[r.id]; !known && !r.deselect {
				s.wrong("record %s of partition %d was never taken", r.id, part)
			}
		}
	}
	for _, r := range s.book.rejected {
		for _, a := range r.op.attempts {
			if a.run <= r.run && a.request != nil && a.request.effect {
				s.wrong("code %s was said to be of no use, and was executed", r.op.value)
			}
		}
	}
}

// finishedShop looks at one shop's end.
func (s *sim) finishedShop(k journal.ShopKey, h journal.ShopHistory) {
	published := map[string]bool{}
	for _, e := range s.topic.events {
		published[e.ID] = true
	}
	tokens := map[string]bool{}
	for v := int64(1); ; v++ {
		c, err := s.j.Credential(context.Background(), k, v)
		if err != nil {
			break
		}
		if _, token, ok := s.secret(c); ok {
			tokens[token] = true
		}
	}
	for _, op := range h.Operations {
		own := 0
		for _, e := range op.Output {
			if !published[e.Event.String()] {
				s.wrong("event %v of operation %d was never published", e.Event, op.ID)
			}
			own++
		}
		reason := Reason(op.Reason)
		switch {
		case op.State == journal.Superseded:
		case op.State == journal.Attention && reason == ReasonSubjectUnreadable:
		case op.State != journal.Done && op.State != journal.Attention:
			s.wrong("operation %d ended as %v", op.ID, op.State)
		case own == 0:
			s.wrong("operation %d ended as %v (%s) without an event", op.ID, op.State, reason)
		case op.State == journal.Done && op.Kind == journal.Activate && reason == ReasonActivated:
			want := eventOf(op.UUID, op.Run, schemas.TypeActivated).String()
			if !published[want] {
				s.wrong("operation %d is activated, and run %d was not announced", op.ID, op.Run)
			}
		}
		o := s.book.ops[op.ID]
		if o == nil {
			continue
		}
		for _, a := range o.attempts {
			kept := slices.ContainsFunc(op.Tries, func(r journal.AttemptRecord) bool { return r.ID == a.id && r.HasReceipt })
			if a.receipt && !kept && time.Since(s.began) < ReceiptsKept {
				s.wrong("the receipt of attempt %d of operation %d is gone", a.number, op.ID)
			}
			if a.receipt && a.request.token != "" && a.request.reply.name == "good" && !tokens[a.request.token] && op.State != journal.Attention {
				s.wrong("the token of attempt %d of operation %d is not stored, and nobody looks: %v (%s)", a.number, op.ID, op.State, reason)
			}
		}
	}
}

// emptyJournal makes what every seed begins with.
func emptyJournal(t testing.TB, dir string) []byte {
	t.Helper()
	path := filepath.Join(dir, "empty.db")
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: NewPlanner(PlannerOptions{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// simFolder is in memory where the machine has such a place: nothing here is
// about disks.
func simFolder(t testing.TB) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "simulation"); err == nil { //nolint:usetesting // t.TempDir is on a disk
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// The simulation: whatever happens between the calls, the invariants hold
// after every step, and when the faults stop all is done within a bounded time.
func TestSimulation(t *testing.T) {
	dir := simFolder(t)
	empty := emptyJournal(t, dir)
	seeds := *simSeeds
	if seeds == 0 {
		seeds = 200
	}
	began := time.Now()
	steps, virtual, counts := 0, time.Duration(0), map[string]int{}
	for i := range seeds {
		seed := *simSeed + uint64(i)
		r := simulate(t, dir, empty, seed)
		if *simPrint {
			t.Logf("seed %d:\n%s", seed, strings.Join(r.lines, "\n"))
		}
		if r.broken != "" && *simAll {
			t.Errorf("seed %d: %s", seed, r.broken)
			continue
		}
		if r.broken != "" {
			t.Fatalf("seed %d (the %d. of this run): %s\nto see it again: go test ./internal/onboarding -run 'TestSimulation$' -sim.seed=%d -sim.seeds=1\n%s",
				seed, i+1, r.broken, seed, strings.Join(r.lines[max(0, len(r.lines)-400):], "\n"))
		}
		steps, virtual = steps+r.steps, virtual+r.virtual
		for k, n := range r.counts {
			counts[k] += n
		}
	}
	took := time.Since(began)
	t.Logf("%d seeds in %v (%.0f a second): %d steps, %v of virtual time", seeds, took.Round(time.Millisecond), float64(seeds)/took.Seconds(), steps, virtual.Round(time.Second))
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%8d %s", counts[k], k)
	}
}

// A seed replays a run exactly.
func TestSimulationReplays(t *testing.T) {
	dir := simFolder(t)
	empty := emptyJournal(t, dir)
	seen := map[string]bool{}
	for seed := *simSeed; seed < *simSeed+20; seed++ {
		a, b := simulate(t, dir, empty, seed), simulate(t, dir, empty, seed)
		if a.digest != b.digest {
			for i := range a.lines {
				if i >= len(b.lines) || a.lines[i] != b.lines[i] {
					t.Fatalf("seed %d: the runs part at line %d:\n%s\n%s", seed, i, a.lines[i], b.lines[min(i, len(b.lines)-1)])
				}
			}
			t.Fatalf("seed %d: two digests", seed)
		}
		seen[a.digest] = true
	}
	if len(seen) != 20 {
		t.Errorf("20 seeds made %d runs", len(seen))
	}
}
