package invoicebox

import (
	"strconv"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/golden"
)

// The table of docs/outcomes.md is the one that decides.
func TestOutcomesPage(t *testing.T) {
	code := golden.Code
	rows := [][]string{{"rule", "calls", "status", "outcome", "fault", "doubt", "only where"}}
	for _, r := range OutcomeRules() {
		rows = append(rows, []string{
			code(r.Name), operationsText(r.Operations), statusesText(r.Statuses), code(r.Outcome.String()), code(faultText(r.Fault)), yes(r.Doubt), conditionText(r),
		})
	}
	golden.CompareMarkdown(t, "../docs/outcomes.md", "## What a response means", rows)
}

func operationsText(ops []Operation) string {
	if len(ops) == len(everyOperation) {
		return "all"
	}
	names := make([]string, len(ops))
	for i, o := range ops {
		names[i] = o.String()
	}
	return strings.Join(names, ", ")
}

func statusesText(ss []StatusRange) string {
	texts := make([]string, len(ss))
	for i, s := range ss {
		switch {
		case s == StatusRange{}:
			texts[i] = "none"
		case s.From == s.To:
			texts[i] = strconv.Itoa(s.From)
		case s.From%100 == 0 && s.To == s.From+99:
			texts[i] = strconv.Itoa(s.From/100) + "xx"
		default:
			texts[i] = strconv.Itoa(s.From) + " to " + strconv.Itoa(s.To)
		}
	}
	return strings.Join(texts, ", ")
}

func conditionText(r OutcomeRule) string {
	var parts []string
	if r.Unwritten {
		parts = append(parts, "nothing written")
	}
	if r.body != anyBody {
		parts = append(parts, r.Body())
	}
	if len(r.Failures) > 0 {
		names := make([]string, len(r.Failures))
		for i, f := range r.Failures {
			names[i] = golden.Code(string(f))
		}
		parts = append(parts, strings.Join(names, ", "))
	}
	return strings.Join(parts, "; ")
}

func faultText(f FaultKind) string {
	if f == FaultNone {
		return ""
	}
	return f.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
