package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMarkdown(t *testing.T) {
	got := markdown([][]string{{"a", "b"}, {"1|2", ""}})
	if diff := cmp.Diff([]string{"| a | b |", "|---|---|", `| 1\|2 | - |`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTableUnder(t *testing.T) {
	lines := strings.Split("## One\ntext\n\n| a |\n|---|\n\n## Two\ntext\n## Three\n| c |", "\n")
	for heading, want := range map[string][2]int{"## One": {3, 5}, "## Two": {-1, -1}, "## Three": {9, 10}, "## Four": {-1, -1}} {
		if from, to := tableUnder(lines, heading); from != want[0] || to != want[1] {
			t.Errorf("%s: %d to %d", heading, from, to)
		}
	}
}

func TestSectionUnder(t *testing.T) {
	lines := strings.Split("# A\n## B\ntext\n### C\n#hash\n## D\n# E\ntext", "\n")
	for heading, want := range map[string][2]int{"# A": {1, 6}, "## B": {2, 5}, "### C": {4, 5}, "## D": {6, 6}, "# E": {7, 8}, "# F": {-1, -1}} {
		if from, to := sectionUnder(lines, heading); from != want[0] || to != want[1] {
			t.Errorf("%s: %d to %d", heading, from, to)
		}
	}
}

func TestUpdate(t *testing.T) {
	was := *update
	t.Cleanup(func() { *update = was })
	*update = true
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("# Page\n\n## Table\n\n| old |\n|---|\n\n## Section\n\nold\n\n## End\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	CompareMarkdown(t, file, "## Table", [][]string{{"a"}, {"1"}})
	CompareSection(t, file, "## Section", "new\n")
	text, err := os.ReadFile(file) // #nosec G304 -- made above
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("# Page\n\n## Table\n\n| a |\n|---|\n| 1 |\n\n## Section\n\nnew\n\n## End\n", string(text)); diff != "" {
		t.Error(diff)
	}
	*update = false
	CompareMarkdown(t, file, "## Table", [][]string{{"a"}, {"1"}})
	CompareSection(t, file, "## Section", "new")
}
