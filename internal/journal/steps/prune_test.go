package steps

import (
	"testing"

	"invoicebox-worker/internal/journal"
)

func TestPruneKnowsEveryKind(t *testing.T) {
	for _, what := range journal.PruneTargets() {
		if _, ok := pruneTargetOf(what); !ok {
			t.Errorf("%v cannot be forgotten", what)
		}
	}
}
