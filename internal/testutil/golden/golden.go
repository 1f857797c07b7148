package golden

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated parts of documents instead of comparing them")

// CompareMarkdown fails the test unless the first table under a heading (the whole
// line) of a Markdown file shows the rows. The first row holds the titles of the
// columns. An empty cell is shown as a dash.
func CompareMarkdown(t *testing.T, file, heading string, rows [][]string) {
	t.Helper()
	compare(t, file, "the table under "+heading, markdown(rows), func(lines []string) (from, to int) { return tableUnder(lines, heading) })
}

// CompareSection fails the test unless the text between a heading (the whole line)
// of a Markdown file and the next heading of the same or a higher level is the
// wanted one. It is for sections that are generated as a whole.
func CompareSection(t *testing.T, file, heading, text string) {
	t.Helper()
	want := append([]string{""}, strings.Split(strings.TrimSpace(text), "\n")...)
	compare(t, file, "the section "+heading, append(want, ""), func(lines []string) (from, to int) { return sectionUnder(lines, heading) })
}

func compare(t *testing.T, file, what string, want []string, find func(lines []string) (from, to int)) {
	t.Helper()
	text, err := os.ReadFile(file) // #nosec G304 -- a file that the test names
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	from, to := find(lines)
	if from < 0 {
		t.Fatalf("%s: %s does not exist", file, what)
	}
	diff := cmp.Diff(want, lines[from:to])
	switch {
	case diff == "":
	case *update:
		lines = slices.Replace(lines, from, to, want...)
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil { // #nosec G703 -- as above
			t.Fatal(err)
		}
	default:
		t.Errorf("%s: %s differs from the code (- is right; -update writes it):\n%s", file, what, diff)
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

// sectionUnder finds the lines between a heading and the next one of its level or
// a higher one, or -1.
func sectionUnder(lines []string, heading string) (from, to int) {
	at := slices.Index(lines, heading)
	if at < 0 {
		return -1, -1
	}
	for to = at + 1; to < len(lines); to++ {
		if level := levelOf(lines[to]); level > 0 && level <= levelOf(heading) {
			break
		}
	}
	return at + 1, to
}

// levelOf is the level of a heading, or 0.
func levelOf(line string) int {
	marks := len(line) - len(strings.TrimLeft(line, "#"))
	if !strings.HasPrefix(line[marks:], " ") {
		return 0
	}
	return marks
}

func markdown(rows [][]string) []string {
	var out []string
	for i, row := range rows {
		cells := make([]string, len(row))
		for n, cell := range row {
			if cell == "" {
				cell = "-"
			}
			cells[n] = strings.ReplaceAll(cell, "|", `\|`)
		}
		out = append(out, "| "+strings.Join(cells, " | ")+" |")
		if i == 0 {
			out = append(out, strings.Repeat("|---", len(row))+"|")
		}
	}
	return out
}

// Markdown renders rows as a table; the first row holds the titles of the columns.
func Markdown(rows [][]string) string { return strings.Join(markdown(rows), "\n") }

// Code marks a word as code, and leaves an empty one empty.
func Code(word string) string {
	if word == "" {
		return ""
	}
	return "`" + word + "`"
}
