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
)

const outcomesPage = "../../docs/outcomes.md"

// The tables of docs/outcomes.md are those of the code.
func TestOutcomesPage(t *testing.T) {
	code := golden.Code
	t.Run("Operations", func(t *testing.T) {
		rows := [][]string{{"kind", "outcome", "only where", "from", "to", "reason", "event"}}
		for _, r := range responseRules {
			var only []string
			if r.Status != 0 {
				only = append(only, "status "+strconv.Itoa(r.Status))
			}
			if r.Failure != "" {
				only = append(only, code(string(r.Failure)))
			}
			if words := []string{"", "no doubt", "in doubt"}[r.Doubt]; words != "" {
				only = append(only, words)
			}
			event := ""
			switch {
			case r.Invited != "":
				event = "`invited`: " + code(string(r.Invited))
			case r.Failed != "":
				event = "`failed`: " + code(string(r.Failed))
			}
			rows = append(rows, []string{r.Kind.String(), code(r.Outcome.String()), strings.Join(only, ", "), r.From.String(), r.To.String(), code(string(r.Reason)), event})
		}
		golden.CompareMarkdown(t, outcomesPage, "## What a response does to an operation", rows)
	})
	t.Run("Unknown", func(t *testing.T) {
		rows := [][]string{{"kind", "`--unknown-outcome`", "unknown attempts", "to", "reason"}}
		for _, r := range quietRules {
			rows = append(rows, []string{r.Kind.String(), cmp.Or(code(r.Setting), "any"), map[bool]string{true: "1", false: "any"}[r.Again], r.To.String(), code(string(r.Reason))})
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
		list := func(cs []Action) string {
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
				code(string(r.Reason)), strings.Join(kinds, ", "), code(string(r.Failure)), list(r.Actions), cmp.Or(list(r.InDoubt), "the same"),
				map[bool]string{true: "superseded", false: "stays"}[r.Supersedable || slices.Contains(NeverSentReasons(), string(r.Reason))],
			})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Reasons of attention", rows)
	})
	t.Run("Disconnect", func(t *testing.T) {
		words := map[ShopEffect]string{EffectCancel: "becomes superseded (`disconnected`)", EffectRefuse: "the command is refused (`in_flight`)", EffectEnd: "becomes done (`disconnected`)", EffectLeave: "stays"}
		rows := [][]string{{"state", "reason", "what happens", "why"}}
		for _, r := range DisconnectRules() {
			rows = append(rows, []string{r.State.String(), cmp.Or(code(string(r.Reason)), "any"), words[r.Effect], r.Why})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Operations of a shop that is disconnected", rows)
	})
	t.Run("Verification", func(t *testing.T) {
		answers := map[journal.ReviewAnswer]string{journal.ReviewSilent: "no answer", journal.ReviewAccepted: "accepted", journal.ReviewRefused: "refused"}
		next := map[NextCheck]string{Scheduled: "on schedule", RetrySoon: "soon, with growing waits", Confirm: "soon, to confirm"}
		rows := [][]string{{"state", "answer", "to", "next check", "event", "the activation"}}
		for _, r := range verificationRules {
			answer := answers[r.Answer]
			if r.Confirmed {
				answer += ", confirmed"
			}
			move := ""
			if r.Move != nil {
				move = "from " + r.Move.From.String() + " to " + r.Move.To.String()
			}
			rows = append(rows, []string{r.State.String(), answer, r.To.String(), next[r.Next], code(r.Event), move})
		}
		golden.CompareMarkdown(t, outcomesPage, "## Verification of credentials in use", rows)
	})
	t.Run("Restored", func(t *testing.T) {
		rows := [][]string{{"kind", "in the copy", "last event published since", "only where", "to", "reason", "event", "reported as"}}
		for _, r := range RestoreRules() {
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
			rows = append(rows, []string{kind, cmp.Or(string(r.State), "any"), string(r.Published), strings.Join(only, ", "), to, reason, code(string(r.Failure)), r.Outcome})
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
			for _, c := range r.Actions {
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
