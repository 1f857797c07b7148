package onboarding

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"invoicebox-worker/internal/doctable"
)

// The tables that a reader sees are the tables that decide.

func TestTheOutcomesAreDrawn(t *testing.T) {
	rows := [][]string{{"kind", "class", "only where", "from", "to", "reason", "event"}}
	for _, r := range outcomes {
		var only []string
		if r.status != 0 {
			only = append(only, strconv.Itoa(r.status))
		}
		if r.failure != "" {
			only = append(only, string(r.failure))
		}
		if word := []string{"", "no doubt", "in doubt"}[r.doubt]; word != "" {
			only = append(only, word)
		}
		event := ""
		switch {
		case r.invited != "":
			event = "invited: " + string(r.invited)
		case r.failed != "":
			event = "failed: " + string(r.failed)
		}
		rows = append(rows, []string{r.kind.String(), r.class.String(), strings.Join(only, ", "), r.from.String(), r.to.String(), string(r.reason), event})
	}
	doctable.Compare(t, "doc.go", "Outcomes", rows)
}

func TestTheReasonsOfAttentionAreDrawn(t *testing.T) {
	words := func(cs []Command) string {
		names := make([]string, len(cs))
		for i, c := range cs {
			names[i] = string(c)
		}
		return strings.Join(names, ", ")
	}
	rows := [][]string{{"reason", "kinds", "event", "commands", "in doubt", "a newer one works"}}
	for _, r := range attention {
		kinds := make([]string, len(r.Kinds))
		for i, k := range r.Kinds {
			kinds[i] = k.String()
		}
		rows = append(rows, []string{string(r.Reason), strings.Join(kinds, ", "), string(r.Failure), words(r.Commands), cmp.Or(words(r.InDoubt), "the same"), map[bool]string{true: "superseded", false: "stays"}[r.Overtaken || slices.Contains(neverSentHere(), string(r.Reason))]})
	}
	doctable.Compare(t, "doc.go", "Reasons of attention", rows)
}

func TestTheGateIsDrawn(t *testing.T) {
	moves := map[gateMove]string{
		stay: "stays", open: "open", limit: "limited, as told", countFault: "one more; resting at " + strconv.Itoa(faultsToRest),
		countPause: "one more; paused at " + strconv.Itoa(faultsToPause), rest: "resting, longer", pause: "paused", try: "one trial", sound: "its trial may be made",
		countShop:     "one more shop; paused at " + strconv.Itoa(refusalsToPause),
		countUnusable: "one more shop; paused at " + strconv.Itoa(unusableToPause),
	}
	rows := [][]string{{"gate", "for", "signal", "of", "then"}}
	for _, r := range gateRows {
		of := "any"
		if r.trial {
			of = "the trial"
		}
		if moves[r.move] == "" || signalNames[r.signal] == "" {
			t.Errorf("%+v has no words", r)
		}
		rows = append(rows, []string{string(r.state), cmp.Or(string(r.reason), "any"), signalNames[r.signal], of, moves[r.move]})
	}
	doctable.Compare(t, "doc.go", "The gate", rows)
}
