package virtual

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// Words that codes and addresses begin with, so that the sandbox plays the fault of the name.
var (
	addressWords = []string{"rejected-", "conflict-", "lost-answer-", "error503-", "error503-after-", "error500-", "error500-after-", "reset-", "reset-after-", "limited-", "timeout408-", "slow-40-", "slow-", "drip-", "html-", "cut-headers-", "half-body-", "forbidden-"}
	codeWords    = []string{"rejected-", "expired-", "used-", "lost-answer-", "error503-", "error503-after-", "error500-", "error500-after-", "reset-", "reset-after-", "limited-", "timeout408-", "slow-40-", "slow-", "drip-", "html-", "cut-headers-", "half-body-", "broken-json-", "pending-token-", "bad-token-", "null-user-", "no-token-", "forbidden-"}
)

// seeds are those of one run: from SIMULATION_SEED, SIMULATION_SEEDS of them.
func seeds(t *testing.T) (from, n uint64) {
	t.Helper()
	from, n = 1, 10
	if testing.Short() {
		n = 3
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
	s := scenario.Tell(rnd, scenario.Options{Shops: 3 + rnd.IntN(25), Accounts: []string{account}, AddressWords: addressWords, CodeWords: codeWords})
	for code, first := range s.Twins {
		if err := w.box.AddCode(sandbox.Code{Code: code, MerchantID: w.box.MerchantOf(first)}); err != nil {
			t.Fatal(err)
		}
	}
	troubles := brew(rnd, 2+rnd.IntN(14), brokers, span)
	defer func() {
		if t.Failed() {
			t.Logf("again with: SIMULATION_SEED=%d SIMULATION_SEEDS=1 go test -run TestSimulation ./internal/e2e/virtual", seed)
			for _, x := range troubles {
				t.Logf("trouble at %v: %s", x.at, x.name)
			}
		}
	}()
	w.play(s, span, troubles)
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
	t.Logf("%d shops, %d lives, %d ended by themselves (%v), %d requests, done %v after the last trouble", len(s.Shops), w.lives, w.ends, w.stray, len(w.circuit.arrived), time.Since(healed))
	w.finish()
	if w.w.err != nil {
		t.Errorf("the last worker ended with %v", w.w.err)
	}
	w.judge(s)
}

// judge looks at the end of a run from outside.
func (w *world) judge(s *scenario.Story) {
	w.Helper()
	topics := map[string]string{}
	for _, name := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		topics[name] = name
	}
	w.look(func(j journal.Journal) {
		report := scenario.Judge(w, scenario.Run{
			Story: s, Cluster: w.kafka, Topics: topics, Group: group, Journal: j, Store: credentials.NewSealed(w.keys.Bind(j.Origin().String())),
			Requests: w.box.Requests(), Effects: w.box.Effects(), Windows: w.box.Windows(), TokenOf: w.box.TokenOf,
			Heard: func(q sandbox.Request) bool {
				return q.Status == 200 && q.Fault == "" && q.Took < 25*time.Second && !w.disturbed(q.Time.Add(q.Took))
			},
			Around: func(sandbox.Request) string { return "no worker died or was frozen" },
		})
		w.Log(report.Ledger)
	})
}

// disturbed tells whether a worker died soon after an instant, or was frozen.
func (w *world) disturbed(at time.Time) bool {
	for _, death := range w.deaths {
		if !death.Before(at) && death.Sub(at) < time.Minute {
			return true
		}
	}
	for _, f := range w.frozen {
		if !at.Before(f[0]) && (f[1].IsZero() || at.Before(f[1].Add(time.Second))) {
			return true
		}
	}
	return false
}
