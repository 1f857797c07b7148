package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/visible"
)

const (
	gridWidth   = 120 // of a table, in characters
	columnWidth = 12  // what a column keeps when the table is too wide
)

// nowrap is the header of a column that is never cut: its values are copied from
// the table into other commands.
type nowrap string

// printTable prints a table, or a word where it would be empty. On a terminal a table
// that is too wide loses the middles of its widest values.
func printTable(w io.Writer, header []any, rows [][]any, none string) {
	if len(rows) == 0 {
		_, _ = fmt.Fprintln(w, none)
		return
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.Options{SeparateColumns: false, SeparateHeader: true}
	t.Style().Format.Header = 0
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	shown := make([][]any, len(rows))
	for i, r := range rows {
		for _, v := range r {
			shown[i] = append(shown[i], visible.Text(fmt.Sprint(v)))
		}
	}
	width := gridWidth
	if p, ok := w.(*page); ok {
		width = p.width
	}
	widths := columnWidths(header, shown, width)
	for _, r := range shown {
		cells := make(table.Row, len(r))
		for i, v := range r {
			cells[i] = ellipsize(fmt.Sprint(v), widths[i])
		}
		t.AppendRow(cells)
	}
	_, _ = fmt.Fprintln(w, t.Render())
}

// columnWidths returns the width of each column. If the table would be wider than width (0:
// no maximum), the widest columns are made narrower first.
func columnWidths(header []any, rows [][]any, width int) []int {
	widths := make([]int, len(header))
	total := 0
	for i, h := range header {
		widths[i] = text.StringWidthWithoutEscSequences(fmt.Sprint(h))
		for _, r := range rows {
			widths[i] = max(widths[i], text.StringWidthWithoutEscSequences(fmt.Sprint(r[i])))
		}
		total += widths[i] + 2 // a space on either side
	}
	for ; width > 0 && total > width; total-- {
		widest := -1
		for i, h := range header {
			if _, ok := h.(nowrap); !ok && widths[i] > columnWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// ellipsize replaces the middle of a text that is wider than width columns.
func ellipsize(value string, width int) string {
	if text.StringWidthWithoutEscSequences(value) <= width {
		return value
	}
	var left, right string
	runes := []rune(value)
	for _, r := range runes {
		if text.StringWidthWithoutEscSequences(left+string(r)) > width/2 {
			break
		}
		left += string(r)
	}
	for _, r := range slices.Backward(runes) {
		if text.StringWidthWithoutEscSequences(string(r)+right) > width-width/2-1 {
			break
		}
		right = string(r) + right
	}
	return left + "…" + right
}

// formatTime formats an instant for a table, in UTC.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateTime)
}

func printEvents(w io.Writer, records []journal.EventRecord) {
	var rows [][]any
	for _, e := range records {
		rows = append(rows, []any{formatTimeMillis(e.Received), e.Type, e.ID, e.Exit, partitionOffset(e.Partition, e.Offset)})
	}
	printTable(w, []any{nowrap("received"), nowrap("event"), "id", "exit", nowrap("lies at")}, rows, "no events")
}

func printOutputs(w io.Writer, records []journal.OutputRecord) {
	var rows [][]any
	for _, o := range records {
		where := "not yet"
		if o.Published {
			where = partitionOffset(o.Partition, o.Offset)
		}
		rows = append(rows, []any{formatTimeMillis(o.Created), o.Type, o.Sequence, where, summary(o.Value)})
	}
	printTable(w, []any{nowrap("made"), nowrap("result"), "seq", nowrap("published"), "says"}, rows, "no results")
}

// summary shortens a result: reason and action, outcome, or the reference of the credentials.
// It is empty if the value has none of these.
func summary(value []byte) string {
	type gist struct {
		Outcome      string `json:"outcome"`
		Reason       string `json:"reason"`
		Action       string `json:"action"`
		Verification string `json:"verification"`
		Credentials  struct {
			Ref string `json:"ref"`
		} `json:"credentials"`
	}
	var g gist
	if json.Unmarshal(value, &g) != nil {
		return ""
	}
	if g == (gist{}) {
		var structured struct {
			Data gist `json:"data"`
		}
		if json.Unmarshal(value, &structured) != nil {
			return ""
		}
		g = structured.Data
	}
	var words []string
	for _, word := range []string{g.Reason, g.Action, g.Outcome, g.Verification, g.Credentials.Ref} {
		if word != "" {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}
