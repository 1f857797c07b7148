package onboarding

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

var (
	allStates   = []journal.State{journal.Queued, journal.Planned, journal.Waiting, journal.Claimed, journal.Sending, journal.Received, journal.Stored, journal.Unknown, journal.Attention, journal.Done, journal.Superseded}
	allOutcomes = []invoicebox.Outcome{invoicebox.Done, invoicebox.Refused, invoicebox.NotExecuted, invoicebox.Limited, invoicebox.ProbablyNotExecuted, invoicebox.Unauthorized, invoicebox.OurFault, invoicebox.Unknown, invoicebox.Unreadable}
	bothKinds   = []journal.Kind{journal.Invite, journal.Activate}
)

// declaredReasons reads the typed constants from the source, so that none can
// be forgotten.
func declaredReasons(t *testing.T) map[string]Reason {
	t.Helper()
	out := map[string]Reason{}
	for name, text := range declaredConstants(t, "reasons.go", "Reason") {
		out[name] = Reason(text)
	}
	if len(out) < 30 {
		t.Fatalf("only %d reasons found in the source", len(out))
	}
	return out
}

func declaredConstants(t *testing.T, file, typ string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if ident, typed := spec.Type.(*ast.Ident); ok && typed && ident.Name == typ {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out[spec.Names[0].Name] = text
		}
		return true
	})
	return out
}

// Reasons are stored and become labels: each has one word of its own.
func TestReasons_Distinct(t *testing.T) {
	seen := map[Reason]string{}
	for name, r := range declaredReasons(t) {
		if r == "" || strings.Trim(string(r), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%s: %q is no label", name, r)
		}
		if other, ok := seen[r]; ok {
			t.Errorf("%s and %s are both %q", name, other, r)
		}
		seen[r] = name
	}
}

func TestEdges(t *testing.T) {
	from := map[journal.State]bool{}
	for i, e := range edges {
		from[e.From] = true
		if e.When == "" {
			t.Errorf("%v→%v: nothing says when", e.From, e.To)
		}
		for _, other := range edges[:i] {
			if other.From == e.From && other.To == e.To && other.From != journal.Waiting {
				t.Errorf("%v→%v is there twice", e.From, e.To)
			}
		}
		if !Permitted(e.From, e.To) {
			t.Errorf("%v→%v is not permitted", e.From, e.To)
		}
	}
	// What must never be possible, whoever adds an edge.
	for _, s := range allStates {
		for _, forbidden := range []struct {
			from, to journal.State
			why      string
		}{
			{journal.Planned, s, "a call without a claim"},
			{journal.Received, s, "a received answer is not sent again"},
			{journal.Stored, s, "a stored secret is not sent again"},
		} {
			sent := s == journal.Sending || s == journal.Planned || s == journal.Waiting
			if sent && Permitted(forbidden.from, s) {
				t.Errorf("%v→%v: %s", forbidden.from, s, forbidden.why)
			}
		}
		if Permitted(journal.Unknown, s) && s != journal.Unknown && s != journal.Planned && s != journal.Received && s != journal.Attention {
			t.Errorf("unknown→%v: it is asked once more, through a claim, or ends with a person or an answer", s)
		}
		if s != journal.Claimed && Permitted(s, journal.Sending) {
			t.Errorf("%v→sending without a claim", s)
		}
		if (s == journal.Stored || s == journal.Done || s == journal.Superseded) && Permitted(s, journal.Received) {
			t.Errorf("%v→received although it went through it, or gave way", s)
		}
	}
	// Every open state has a way on.
	for _, s := range allStates {
		if s.Open() && !from[s] {
			t.Errorf("%v is a dead end", s)
		}
	}
}

func TestOutcomeRules(t *testing.T) {
	declared := declaredReasons(t)
	known := func(r Reason) bool {
		for _, v := range declared {
			if v == r {
				return true
			}
		}
		return false
	}
	for _, kind := range bothKinds {
		for _, outcome := range allOutcomes {
			for _, doubt := range []bool{false, true} {
				row := ResponseRuleOf(kind, invoicebox.Classification{Outcome: outcome}, 0, doubt)
				if row.Outcome != outcome {
					t.Errorf("%v %v %t: falls to %v", kind, outcome, doubt, row.Outcome)
				}
				// A refusal after an attempt in doubt, such as a probe, proves nothing of it.
				if doubt && kind == journal.Activate && outcome == invoicebox.Refused && row.To != journal.Attention {
					t.Errorf("a refusal in doubt goes to %v", row.To)
				}
				// 408 and 503 use nothing up, a probe neither.
				if outcome == invoicebox.ProbablyNotExecuted && row.To != journal.Waiting {
					t.Errorf("%v probably not executed goes to %v", kind, row.To)
				}
			}
		}
	}
	for _, r := range responseRules {
		name := r.Kind.String() + " " + r.Outcome.String() + " " + string(r.Reason)
		if !Permitted(r.From, r.To) {
			t.Errorf("%s: no edge %v→%v", name, r.From, r.To)
		}
		if !known(r.Reason) {
			t.Errorf("%s: the reason is not declared", name)
		}
		if r.Failed != "" {
			if _, ok := schemas.LookupFailure(failureType(r.Kind), r.Failed); !ok {
				t.Errorf("%s: %s is no failure of the contract", name, r.Failed)
			}
		}
		if r.Invited != "" && (r.Kind != journal.Invite || !r.Mark) {
			t.Errorf("%s: an invited event without an invitation", name)
		}
		ends := r.To == journal.Done || r.To == journal.Attention
		if ends != (r.Invited != "" || r.Failed != "") {
			t.Errorf("%s: every end has an event, and nothing else has", name)
		}
		if r.To == journal.Attention && AttentionFailure(r.Reason) != r.Failed {
			t.Errorf("%s: the table of attention asks for %q", name, AttentionFailure(r.Reason))
		}
		// Invariant: what may have been executed is never sent again by itself.
		again := r.To == journal.Planned || r.To == journal.Waiting
		switch r.Outcome {
		case invoicebox.Unknown, invoicebox.Done, invoicebox.Unreadable, invoicebox.Refused:
			if again {
				t.Errorf("%s is sent again", name)
			}
		}
		if r.Kind == journal.Activate && (r.Outcome == invoicebox.Done || r.Outcome == invoicebox.Unreadable) && r.From != journal.Received {
			t.Errorf("%s: an answer is read before it is durable", name)
		}
	}
}

func TestQuietRules(t *testing.T) {
	for _, r := range quietRules {
		if !Permitted(journal.Unknown, r.To) {
			t.Errorf("%v: no edge to %v", r.Kind, r.To)
		}
		if r.To == journal.Attention && AttentionFailure(r.Reason) == "" {
			t.Errorf("%v: attention without an event", r.Kind)
		}
		if r.To == journal.Planned && !r.Again {
			t.Errorf("%v: it could be asked for ever", r.Kind)
		}
	}
	for _, c := range []struct {
		kind     journal.Kind
		setting  string
		unknowns int
		to       journal.State
		reason   Reason
	}{
		{journal.Activate, ProbeOnce, 1, journal.Planned, ReasonProbe},
		{journal.Activate, ProbeOnce, 2, journal.Attention, ReasonOutcomeUnknown},
		{journal.Activate, ProbeOnce, 3, journal.Attention, ReasonOutcomeUnknown},
		{journal.Activate, Hold, 1, journal.Attention, ReasonOutcomeUnknown},
		{journal.Activate, Hold, 2, journal.Attention, ReasonOutcomeUnknown},
		{journal.Invite, ProbeOnce, 1, journal.Planned, ReasonOnceMore},
		{journal.Invite, Hold, 1, journal.Planned, ReasonOnceMore},
		{journal.Invite, Hold, 2, journal.Attention, ReasonOutcomeUnknown},
		{journal.Activate, ProbeOnce, 0, journal.Attention, ReasonOutcomeUnknown},
	} {
		if got := AfterQuietOf(c.kind, c.setting, c.unknowns); got.To != c.to || got.Reason != c.reason {
			t.Errorf("%v, %s, unknown %d times: %v (%s), want %v (%s)", c.kind, c.setting, c.unknowns, got.To, got.Reason, c.to, c.reason)
		}
	}
}

func TestAttentionTable(t *testing.T) {
	declared := declaredReasons(t)
	seen := map[Reason]bool{}
	for _, row := range attention {
		if seen[row.Reason] {
			t.Errorf("%s is there twice", row.Reason)
		}
		seen[row.Reason] = true
		if row.Certain == "" || row.Uncertain == "" || len(row.Kinds) == 0 {
			t.Errorf("%s: incomplete", row.Reason)
		}
		for _, kind := range row.Kinds {
			if row.Failure == "" {
				continue
			}
			advice, ok := schemas.LookupFailure(failureType(kind), row.Failure)
			if !ok {
				t.Errorf("%s: %v has no failure %s", row.Reason, kind, row.Failure)
			}
			// A person may still bring it to a good end, but for a code that
			// is another shop's.
			if advice.Final && row.Reason != ReasonCodeOfOtherShop {
				t.Errorf("%s: the event is final and the matter is not", row.Reason)
			}
		}
		executed := strings.Contains(row.Certain, "is spent") || strings.Contains(row.Certain, "was executed") || strings.Contains(row.Certain, "is not sent again")
		if row.Do == "" {
			t.Errorf("%s: nothing is said of what to do", row.Reason)
		}
		if executed != row.Executed {
			t.Errorf("%s: the row does not agree with its words", row.Reason)
		}
	}
	for _, name := range []string{
		"ReasonOutcomeUnknown", "ReasonOutcomeLost", "ReasonRequestRejected", "ReasonAnswerUnreadable",
		"ReasonMerchantConflict", "ReasonStoreConflict", "ReasonCredentialsInvalid", "ReasonSecondToken", "ReasonCodeOfOtherShop", "ReasonSubjectUnreadable",
	} {
		if !seen[declared[name]] {
			t.Errorf("%s has no row", name)
		}
	}
}
