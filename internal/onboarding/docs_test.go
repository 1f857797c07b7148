package onboarding

import (
	"cmp"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/golden"
	"invoicebox-worker/invoicebox"
)

const outcomesPage = "../../docs/outcomes.md"

// The tables of docs/outcomes.md are those of the code.
func TestOutcomesPage(t *testing.T) {
	code := golden.Code
	t.Run("Operations", func(t *testing.T) {
		rows := [][]string{{"kind", "class", "only where", "from", "to", "reason", "event"}}
		for _, r := range outcomes {
			var only []string
			if r.status != 0 {
				only = append(only, "status "+strconv.Itoa(r.status))
			}
			if r.failure != "" {
				only = append(only, code(string(r.failure)))
			}
			if words := []string{"", "no doubt", "in doubt"}[r.doubt]; words != "" {
				only = append(only, words)
			}
			event := ""
			switch {
			case r.invited != "":
				event = "`invited`: " + code(string(r.invited))
			case r.failed != "":
				event = "`failed`: " + code(string(r.failed))
			}
			rows = append(rows, []string{r.kind.String(), code(r.class.String()), strings.Join(only, ", "), r.from.String(), r.to.String(), code(string(r.reason)), event})
		}
		golden.CompareMarkdown(t, outcomesPage, "## What a response does to an operation", rows)
	})
	t.Run("Unknown", func(t *testing.T) {
		rows := [][]string{{"kind", "`--unknown-outcome`", "unknown attempts", "to", "reason"}}
		for _, r := range afterQuiet {
			rows = append(rows, []string{r.kind.String(), cmp.Or(code(r.setting), "any"), map[bool]string{true: "1", false: "any"}[r.again], r.to.String(), code(string(r.reason))})
		}
		golden.CompareMarkdown(t, outcomesPage, "## After an unknown outcome", rows)
	})
	t.Run("Transitions", func(t *testing.T) {
		rows := [][]string{{"from", "to", "when"}}
		for _, e := range Edges() {
			rows = append(rows, []string{e.From.String(), e.To.String(), e.When})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Transitions of an operation", rows)
	})
	t.Run("Attention", func(t *testing.T) {
		list := func(cs []Command) string {
			names := make([]string, len(cs))
			for i, c := range cs {
				names[i] = code(string(c))
			}
			return strings.Join(names, ", ")
		}
		rows := [][]string{{"reason", "kinds", "event", "safe commands", "in doubt", "when a newer one succeeds"}}
		for _, r := range attention {
			kinds := make([]string, len(r.Kinds))
			for i, k := range r.Kinds {
				kinds[i] = k.String()
			}
			rows = append(rows, []string{
				code(string(r.Reason)), strings.Join(kinds, ", "), code(string(r.Failure)), list(r.Commands), cmp.Or(list(r.InDoubt), "the same"),
				map[bool]string{true: "superseded", false: "stays"}[r.Overtaken || slices.Contains(neverSentHere(), string(r.Reason))],
			})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Reasons of attention", rows)
	})
	t.Run("Signals", func(t *testing.T) {
		rows := [][]string{{"class", "only where", "signal"}}
		for _, r := range signals {
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
			rows = append(rows, []string{code(r.class.String()), strings.Join(only, ", "), signalNames[r.signal]})
		}
		golden.CompareMarkdown(t, outcomesPage, "## What a response tells the circuit breaker", rows)
	})
	t.Run("Breaker", func(t *testing.T) {
		moves := map[gateMove]string{
			stay: "no change", open: "open", limit: "limited, as long as told", countFault: "counts one; resting at " + strconv.Itoa(faultsToRest),
			countPause: "counts one; paused at " + strconv.Itoa(faultsToPause), rest: "resting, longer", pause: "paused", try: "one trial", sound: "the trial may be made",
			countShop:     "counts the shop; paused at " + strconv.Itoa(refusalsToPause),
			countUnusable: "counts the shop; paused at " + strconv.Itoa(unusableToPause),
		}
		rows := [][]string{{"state", "reason", "signal", "of", "then"}}
		for _, r := range gateRows {
			of := "any"
			if r.trial {
				of = "the trial"
			}
			if moves[r.move] == "" || signalNames[r.signal] == "" {
				t.Errorf("%+v has no words", r)
			}
			rows = append(rows, []string{string(r.state), cmp.Or(code(string(r.reason)), "any"), signalNames[r.signal], of, moves[r.move]})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Transitions of the circuit breaker", rows)
	})
	t.Run("Verification", func(t *testing.T) {
		answers := map[journal.ReviewAnswer]string{journal.ReviewSilent: "no answer", journal.ReviewAccepted: "accepted", journal.ReviewRefused: "refused"}
		next := map[reviewNext]string{onSchedule: "on schedule", soon: "soon, with growing waits", toConfirm: "soon, to confirm"}
		rows := [][]string{{"state", "answer", "to", "next check", "event", "the activation"}}
		for _, r := range reviewRows {
			answer := answers[r.answer]
			if r.confirmed {
				answer += ", confirmed"
			}
			move := ""
			if r.move != nil {
				move = "from " + r.move.From.String() + " to " + r.move.To.String()
			}
			rows = append(rows, []string{r.state.String(), answer, r.to.String(), next[r.next], code(r.event), move})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Verification of credentials in use", rows)
	})
	t.Run("Restored", func(t *testing.T) {
		rows := [][]string{{"kind", "in the copy", "last event published since", "only where", "to", "reason", "event", "reported as"}}
		for _, r := range RestoreRows() {
			kind, to := "any", "no change"
			if r.Kind != 0 {
				kind = r.Kind.String()
			}
			if r.To != 0 {
				to = r.To.String()
			}
			var only []string
			if r.Hold {
				only = append(only, "`--unknown-outcome hold`")
			}
			if r.Spent {
				only = append(only, "unknown in the copy already")
			}
			reason := code(string(r.Reason))
			if reason == "" && r.To != 0 {
				reason = "the event's"
			}
			rows = append(rows, []string{kind, cmp.Or(string(r.Place), "any"), string(r.Word), strings.Join(only, ", "), to, reason, code(string(r.Failure)), r.Came})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Operations of a restored journal", rows)
	})
}

// The runbook has a section for each reason for which somebody is called.
func TestRunbook(t *testing.T) {
	const page = "../../docs/operations.md"
	code := golden.Code
	for _, r := range attention {
		t.Run(string(r.Reason), func(t *testing.T) {
			var commands []string
			for _, c := range r.Commands {
				commands = append(commands, code("operations "+string(c)))
			}
			golden.CompareMarkdown(t, page, "### "+code(string(r.Reason)), [][]string{
				{"question", "answer"},
				{"What is certain?", r.Certain},
				{"What is not?", r.Uncertain},
				{"What to do?", r.Do},
				{"Which failure was published?", code(string(r.Failure))},
				{"Which commands are safe?", strings.Join(commands, ", ")},
			})
		})
	}
	t.Run("Accounts", func(t *testing.T) {
		rows := [][]string{{"reason", "what it means", "what to do", "command"}}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		pausing := map[Reason]bool{ReasonToken: true, ReasonOperator: true}
		for _, r := range gateRows {
			if r.state == journal.GatePaused && r.reason != "" {
				pausing[r.reason] = true
			}
		}
		for _, r := range gateWordRows {
			rows = append(rows, []string{code(string(r.reason)), r.words, r.todo, code("accounts " + string(r.command) + " NAME")})
			if pausing[r.reason] && !strings.Contains(string(text), "\n### Paused: "+code(string(r.reason))+"\n") {
				t.Errorf("there is no section for an account that is paused for %s", r.reason)
			}
		}
		golden.CompareMarkdown(t, page, "## An account is closed", rows)
	})
}

// Every arrow between two states that a document draws is a transition of the code,
// and every state is drawn.
func TestStateDiagram(t *testing.T) {
	states := map[string]journal.State{}
	for _, e := range Edges() {
		states[e.From.String()], states[e.To.String()] = e.From, e.To
	}
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, diagram, found := strings.Cut(string(text), "stateDiagram-v2")
	diagram, _, ended := strings.Cut(diagram, "```")
	if !found || !ended {
		t.Fatal("there is no state diagram")
	}
	drawn := map[string]bool{}
	for _, m := range regexp.MustCompile(`(\w+) --> (\w+)`).FindAllStringSubmatch(diagram, -1) {
		drawn[m[1]], drawn[m[2]] = true, true
		if !Permitted(states[m[1]], states[m[2]]) {
			t.Errorf("%s --> %s is no transition", m[1], m[2])
		}
	}
	for name := range states {
		if !drawn[name] {
			t.Errorf("%s is not drawn", name)
		}
	}
}
