package virtual

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/invoicebox/sandbox"
)

// seeds are those of one run: from SIMULATION_SEED, SIMULATION_SEEDS of them.
func seeds(t *testing.T) (from, n uint64) {
	t.Helper()
	from, n = 1, 24
	if testing.Short() {
		n = 5
	}
	for name, v := range map[string]*uint64{"SIMULATION_SEED": &from, "SIMULATION_SEEDS": &n} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		var err error
		if *v, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return from, n
}

func TestSimulation(t *testing.T) {
	from, n := seeds(t)
	for seed := from; seed < from+n; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

// How long after the last trouble everything has to be done.
const bound = 2 * time.Hour

func simulate(t *testing.T, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 0))
	span := time.Duration(5+rnd.IntN(15)) * time.Minute
	brokers := 1 + rnd.IntN(3)
	box := sandbox.Options{
		Profile: []sandbox.Profile{sandbox.Hostile, sandbox.Hostile, sandbox.Realistic}[rnd.IntN(3)], Seed: seed,
		RequestsPerWindow: []int{6, 15, 100}[rnd.IntN(3)],
	}
	w := newWorld(t, setting{seed: seed, box: box, brokers: brokers, partitions: 1 + rnd.IntN(2)})
	s := tell(rnd, 3+rnd.IntN(25), span)
	troubles := brew(rnd, 2+rnd.IntN(14), brokers, span)
	defer func() {
		if t.Failed() {
			t.Logf("again with: SIMULATION_SEED=%d SIMULATION_SEEDS=1 go test -run TestSimulation ./internal/e2e/virtual", seed)
			for _, x := range troubles {
				t.Logf("trouble at %v: %s", x.at, x.name)
			}
		}
	}()
	w.play(s, troubles)
	w.heal()
	healed := time.Now()
	ends := 0
	for {
		w.until(time.Now().Add(20 * time.Second))
		if time.Since(healed) < 2*time.Minute {
			ends = w.ends
		}
		ok, words := w.idle()
		if ok {
			break
		}
		w.resume()
		if time.Since(healed) > bound {
			t.Errorf("%v after the last trouble: %s", bound, words)
			break
		}
	}
	if w.ends > ends {
		t.Errorf("the worker ended by itself after the last trouble: %v", w.stray)
	}
	t.Logf("%d shops, %d lives, %d ended by themselves (%v), %d requests, done %v after the last trouble", len(s.shops), w.lives, w.ends, w.stray, len(w.circuit.arrived), time.Since(healed))
	w.finish()
	if w.w.err != nil {
		t.Errorf("the last worker ended with %v", w.w.err)
	}
	w.judge(s)
}
