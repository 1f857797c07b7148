package doctable

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDraw(t *testing.T) {
	got := draw([][]string{{"état", "then"}, {"a", ""}, {"longer", "x"}})
	want := []string{"//\tétat    then", "//\ta       -", "//\tlonger  x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBlock(t *testing.T) {
	lines := strings.Split("// # One\n// text\n//\n//\ta\n//\tb\n//\n// # Two\n// text\n// # Three\n//\tc", "\n")
	for heading, want := range map[string][2]int{"One": {3, 5}, "Two": {-1, -1}, "Three": {9, 10}, "Four": {-1, -1}} {
		from, to := block(lines, heading)
		if from != want[0] || to != want[1] {
			t.Errorf("%s: %d to %d, want %v", heading, from, to, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	got := markdown([][]string{{"a", "b"}, {"1", "2"}})
	if diff := cmp.Diff([]string{"| a | b |", "|---|---|", "| 1 | 2 |"}, got); diff != "" {
		t.Error(diff)
	}
	lines := strings.Split("## One\ntext\n\n| a |\n|---|\n\n## Two\ntext\n## Three\n| c |", "\n")
	for heading, want := range map[string][2]int{"## One": {3, 5}, "## Two": {-1, -1}, "## Three": {9, 10}, "## Four": {-1, -1}} {
		if from, to := tableUnder(lines, heading); from != want[0] || to != want[1] {
			t.Errorf("%s: %d to %d", heading, from, to)
		}
	}
}
