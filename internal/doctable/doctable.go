package doctable

import (
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// Compare fails the test unless the first drawn block under the heading (the
// text after "// # ") in the Go file shows the rows. The first row is the
// columns' titles. Cells are parted by two blanks or more, an empty cell is a
// dash.
func Compare(t *testing.T, file, heading string, rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(file) // #nosec G304 -- a source file that the test names
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	from, to := block(lines, heading)
	if from < 0 {
		t.Fatalf("%s: there is no drawn block under %q", file, heading)
	}
	want := draw(rows)
	if os.Getenv("INVOICEBOX_DRAW") == "1" {
		lines = slices.Replace(lines, from, to, want...)
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil { // #nosec G703 -- as above
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, lines[from:to]); diff != "" {
		t.Errorf("%s: what is drawn under %q is not the table (- is right; INVOICEBOX_DRAW=1 draws it anew):\n%s", file, heading, diff)
	}
}

// CompareMarkdown is Compare for the first table under a heading (the whole line)
// of a Markdown file. No cell may be empty.
func CompareMarkdown(t *testing.T, file, heading string, rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(file) // #nosec G304 -- a file that the test names
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	from, to := tableUnder(lines, heading)
	if from < 0 {
		t.Fatalf("%s: there is no table under %q", file, heading)
	}
	want := markdown(rows)
	if os.Getenv("INVOICEBOX_DRAW") == "1" {
		lines = slices.Replace(lines, from, to, want...)
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil { // #nosec G703 -- as above
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, lines[from:to]); diff != "" {
		t.Errorf("%s: the table under %q differs from the code (- is right; INVOICEBOX_DRAW=1 writes it):\n%s", file, heading, diff)
	}
}

// tableUnder finds the first table under a heading, or -1.
func tableUnder(lines []string, heading string) (from, to int) {
	at := slices.Index(lines, heading)
	if at < 0 {
		return -1, -1
	}
	for from = at + 1; from < len(lines) && !strings.HasPrefix(lines[from], "|"); from++ {
		if strings.HasPrefix(lines[from], "#") {
			return -1, -1
		}
	}
	for to = from; to < len(lines) && strings.HasPrefix(lines[to], "|"); to++ {
	}
	if from == to {
		return -1, -1
	}
	return from, to
}

func markdown(rows [][]string) []string {
	var out []string
	for i, row := range rows {
		out = append(out, "| "+strings.Join(row, " | ")+" |")
		if i == 0 {
			out = append(out, strings.Repeat("|---", len(row))+"|")
		}
	}
	return out
}

const drawn = "//\t"

// block finds the first run of drawn lines under a heading, or -1.
func block(lines []string, heading string) (from, to int) {
	at := slices.Index(lines, "// # "+heading)
	if at < 0 {
		return -1, -1
	}
	for from = at + 1; from < len(lines); from++ {
		if strings.HasPrefix(lines[from], "// # ") {
			return -1, -1
		}
		if strings.HasPrefix(lines[from], drawn) {
			break
		}
	}
	for to = from; to < len(lines) && strings.HasPrefix(lines[to], drawn); to++ {
	}
	if from == to {
		return -1, -1
	}
	return from, to
}

func draw(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 1)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	out := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		b.WriteString(drawn)
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		out[n] = b.String()
	}
	return out
}
