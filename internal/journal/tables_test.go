package journal_test

import (
	"cmp"
	"slices"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/golden"
)

// The table of docs/operations.md is the one of the code.
func TestRetentionTable(t *testing.T) {
	rows := [][]string{{"table", "pruned with", "what is deleted", "what is retained"}}
	used := map[journal.PruneTarget]bool{journal.PruneResponses: true} // the attempts stay
	all := journal.TableRows()
	for _, r := range all {
		if (r.Target != 0) && r.Goes == "" || r.Stays == "" {
			t.Errorf("%+v is not told", r)
		}
		used[r.Target] = true
		rows = append(rows, []string{golden.Code(r.Table), r.Target.String(), r.Goes, r.Stays})
	}
	if !slices.IsSortedFunc(all, func(a, b journal.TableRow) int { return cmp.Compare(a.Table, b.Table) }) {
		t.Error("the tables are not in order")
	}
	for _, f := range journal.PruneTargets() {
		if f.String() == "" || !used[f] {
			t.Errorf("%v is forgotten of no table", f)
		}
	}
	golden.CompareMarkdown(t, "../../docs/operations.md", "## Retention", rows)
}
