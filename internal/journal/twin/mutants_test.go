package twin

import (
	"flag"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/mutant"
	"invoicebox-worker/internal/testutil/pgtest"
)

var (
	plant     = flag.Bool("twin.mutants", false, "plant every bug of testdata/mutants and require that its test finds it")
	plantOnly = flag.String("twin.mutant", "", "only those whose name contains this")
)

// TestPostgresMutants plants bugs that only PostgreSQL can have. The test that each
// names has to fail.
func TestPostgresMutants(t *testing.T) {
	mutants, err := mutant.Read("testdata/mutants", "../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if err := m.Check(); err != nil {
			t.Error(err)
		}
		if m.Test == nil {
			t.Errorf("mutant %s names no test", m.Name)
		}
	}
	if !*plant || t.Failed() {
		return
	}
	pgtest.Start(t) // skips the test where there is no server
	for _, m := range mutants {
		if !strings.Contains(m.Name, *plantOnly) {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			out, err := m.Run(t.Context(), t.TempDir(), m.Test...)
			if !strings.Contains(out, "--- FAIL: ") {
				t.Fatalf("not found: %s (%v)\n%s", m.Why, err, out[max(0, len(out)-2000):])
			}
		})
	}
}
