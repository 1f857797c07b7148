package engine

import (
	"flag"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/mutant"
)

var (
	simMutants = flag.Int("sim.mutants", 0, "plant every bug of testdata/mutants and look for it with as many seeds; 0: do not")
	simMutant  = flag.String("sim.mutant", "", "only those whose name contains this")
)

var simFound = regexp.MustCompile(`seed (\d+) \(the (\d+)\. of this run\): (.*)`)

// The simulation finds every planted bug.
func TestSimulationMutants(t *testing.T) {
	mutants, err := mutant.Read("testdata/mutants", "../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	}
	if *simMutants == 0 || t.Failed() {
		return
	}
	for _, m := range mutants {
		if !strings.Contains(m.Name, *simMutant) {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			out, err := m.Run(t.Context(), t.TempDir(), "-run=TestSimulation$", "./internal/engine", fmt.Sprintf("-sim.seed=%d", *simSeed), fmt.Sprintf("-sim.seeds=%d", *simMutants))
			found := simFound.FindStringSubmatch(out)
			if found == nil {
				t.Fatalf("not found in %d seeds, or not built: %s (%v)\n%s", *simMutants, m.Why, err, out[max(0, len(out)-2000):])
			}
			t.Logf("found by seed %s, the %s.: %s", found[1], found[2], found[3])
		})
	}
}
