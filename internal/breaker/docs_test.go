package breaker

import (
	"cmp"
	"os"
	"strconv"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/testutil/golden"
	"invoicebox-worker/invoicebox"
)

// The tables of docs/outcomes.md about the breaker are those of the code.
func TestBreakerPage(t *testing.T) {
	code := golden.Code
	t.Run("Signals", func(t *testing.T) {
		rows := [][]string{{"outcome", "only where", "signal"}}
		for _, r := range signalRules {
			var only []string
			if r.kind != 0 {
				only = append(only, r.kind.String())
			}
			if r.status != 0 {
				only = append(only, "status "+strconv.Itoa(r.status))
			}
			if r.unwritten {
				only = append(only, "no status line")
			}
			if r.failure != "" {
				only = append(only, code(string(r.failure)))
			}
			if r.fault != invoicebox.FaultNone {
				only = append(only, "fault "+code(r.fault.String()))
			}
			rows = append(rows, []string{code(r.outcome.String()), strings.Join(only, ", "), signalNames[r.signal]})
		}
		golden.CompareMarkdown(t, "../../docs/outcomes.md", "## What a response tells the circuit breaker", rows)
	})
	t.Run("Breaker", func(t *testing.T) {
		moves := map[action]string{
			none: "no change", open: "active", limit: "throttled, as long as told", countServerFault: "counts one; backing off at " + strconv.Itoa(FaultsToRest),
			countOurFault: "counts one; paused at " + strconv.Itoa(FaultsToPause), rest: "backing off, longer", pause: "paused", halfOpen: "one trial", allowTrial: "the trial may be made",
			countShop:     "counts the shop; paused at " + strconv.Itoa(RefusalsToPause),
			countUnusable: "counts the shop; paused at " + strconv.Itoa(UnusableToPause),
		}
		rows := [][]string{{"state", "reason", "signal", "of", "then"}}
		for _, r := range rules {
			of := "any"
			if r.trial {
				of = "the trial"
			}
			if moves[r.action] == "" || signalNames[r.signal] == "" {
				t.Errorf("%+v has no words", r)
			}
			rows = append(rows, []string{string(r.state), cmp.Or(code(string(r.reason)), "any"), signalNames[r.signal], of, moves[r.action]})
		}
		golden.CompareMarkdown(t, "../../docs/outcomes.md", "## Transitions of the circuit breaker", rows)
	})
}

// The runbook has a section for each reason for which an account is paused.
func TestBreakerRunbook(t *testing.T) {
	const page = "../../docs/operations.md"
	code := golden.Code
	rows := [][]string{{"reason", "what it means", "what to do", "command"}}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	pausing := map[onboarding.Reason]bool{onboarding.ReasonToken: true, onboarding.ReasonOperator: true}
	for _, r := range rules {
		if r.state == journal.CircuitPaused && r.reason != "" {
			pausing[r.reason] = true
		}
	}
	for _, r := range onboarding.AccountReasonRows() {
		rows = append(rows, []string{code(string(r.Reason)), r.Text, r.Todo, code("accounts " + string(r.Action) + " NAME")})
		if pausing[r.Reason] && !strings.Contains(string(text), "\n### Paused: "+code(string(r.Reason))+"\n") {
			t.Errorf("there is no section for an account that is paused for %s", r.Reason)
		}
	}
	golden.CompareMarkdown(t, page, "## An account is not active", rows)
}
