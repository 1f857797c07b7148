package engine

import (
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
	"invoicebox-worker/internal/onboarding"
)

var (
	simSeed  = flag.Uint64("sim.seed", 1, "the simulation's first seed")
	simSeeds = flag.Int("sim.seeds", 0, "how many seeds the simulation runs; 0: as many as fit into a few seconds")
	simAll   = flag.Bool("sim.all", false, "go on after a seed that fails")
	simPrint = flag.Bool("sim.trace", false, "print the whole trace of every seed")
)

// How much runs where no number of seeds is asked for.
const (
	usualSeeds  = 300
	usualTime   = 4 * time.Second
	fewestSeeds = 10
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
		steps: 200 + r.IntN(800), replicas: 1 + r.IntN(3)/2, requests: 1 + r.IntN(5), window: 30 * time.Second, coolDown: 24 * time.Hour,
	}
	d.config = Config{
		Concurrency: len(d.accounts) + r.IntN(4), EgressRequests: d.requests + r.IntN(20), UnknownOutcome: onboarding.ProbeOnce,
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
	d.config.DestroyAfter = 20 * time.Minute / d.scale
	if r.IntN(2) == 0 {
		d.config.RemindAfter = []time.Duration{2 * time.Minute / d.scale, 5 * time.Minute / d.scale}
	}
	if r.IntN(4) == 0 {
		d.config.UnknownOutcome = onboarding.Hold
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
			destroyed: map[string]string{}, disconnected: map[journal.ShopKey]int64{},
		}
		s.setup = drawSetup(s.rng)
		s.model, s.box, s.topic = newSimModel(s), newSimInvoicebox(s), newSimTopic(s)
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

// emptyJournal makes what every seed begins with.
func emptyJournal(t testing.TB, dir string) []byte {
	t.Helper()
	path := filepath.Join(dir, "empty.db")
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: onboarding.NewPlanner(onboarding.PlannerOptions{Now: time.Now})})
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
	seeds, limit := *simSeeds, time.Duration(0)
	if seeds == 0 {
		seeds, limit = usualSeeds, usualTime
	}
	began := time.Now()
	steps, virtual, counts := 0, time.Duration(0), map[string]int{}
	for i := range seeds {
		if limit != 0 && i >= fewestSeeds && time.Since(began) > limit {
			seeds = i
			break
		}
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
			t.Fatalf("seed %d (the %d. of this run): %s\nto see it again: go test ./internal/engine -run 'TestSimulation$' -sim.seed=%d -sim.seeds=1\n%s",
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
	const n = 4
	for seed := *simSeed; seed < *simSeed+n; seed++ {
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
	if len(seen) != n {
		t.Errorf("%d seeds made %d runs", n, len(seen))
	}
}
