package journal_test

import (
	"cmp"
	"slices"
	"testing"

	"invoicebox-worker/internal/doctable"
	"invoicebox-worker/internal/journal"
)

func TestWhatIsForgottenIsDrawn(t *testing.T) {
	rows := [][]string{{"table", "forgotten with", "what goes", "what stays"}}
	used := map[journal.Forgettable]bool{}
	all := journal.TableRows()
	for _, r := range all {
		if (r.Forget != 0) && r.Goes == "" || r.Stays == "" {
			t.Errorf("%+v is not told", r)
		}
		used[r.Forget] = true
		rows = append(rows, []string{r.Table, cmp.Or(r.Forget.String(), "-"), cmp.Or(r.Goes, "-"), r.Stays})
	}
	if !slices.IsSortedFunc(all, func(a, b journal.TableRow) int { return cmp.Compare(a.Table, b.Table) }) {
		t.Error("the tables are not in order")
	}
	for _, f := range journal.Forgettables() {
		if f.String() == "" || !used[f] {
			t.Errorf("%v is forgotten of no table", f)
		}
	}
	doctable.Compare(t, "doc.go", "What is forgotten", rows)
}
