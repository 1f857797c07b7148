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
	allStates  = []journal.State{journal.Queued, journal.Planned, journal.Waiting, journal.Claimed, journal.Sending, journal.Received, journal.Stored, journal.Unknown, journal.Attention, journal.Done, journal.Superseded}
	allClasses = []invoicebox.Class{invoicebox.Done, invoicebox.Refused, invoicebox.NotExecuted, invoicebox.Limited, invoicebox.ProbablyNotExecuted, invoicebox.Unauthorized, invoicebox.OurFault, invoicebox.Unknown, invoicebox.Unreadable}
	bothKinds  = []journal.Kind{journal.Invite, journal.Activate}
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
func TestReasonsAreDistinctWords(t *testing.T) {
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

func TestOutcomesCoverEverything(t *testing.T) {
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
		for _, class := range allClasses {
			for _, doubt := range []bool{false, true} {
				row := outcomeOf(kind, invoicebox.Verdict{Class: class}, 0, doubt)
				if row.class != class {
					t.Errorf("%v %v %t: falls to %v", kind, class, doubt, row.class)
				}
				// A refusal after an attempt in doubt, such as a probe, proves nothing of it.
				if doubt && kind == journal.Activate && class == invoicebox.Refused && row.to != journal.Attention {
					t.Errorf("a refusal in doubt goes to %v", row.to)
				}
				// 408 and 503 use nothing up, a probe neither.
				if class == invoicebox.ProbablyNotExecuted && row.to != journal.Waiting {
					t.Errorf("%v probably not executed goes to %v", kind, row.to)
				}
			}
		}
	}
	for _, r := range outcomes {
		name := r.kind.String() + " " + r.class.String() + " " + string(r.reason)
		if !Permitted(r.from, r.to) {
			t.Errorf("%s: no edge %v→%v", name, r.from, r.to)
		}
		if !known(r.reason) {
			t.Errorf("%s: the reason is not declared", name)
		}
		if r.failed != "" {
			if _, ok := schemas.FailureOf(failureType(r.kind), r.failed); !ok {
				t.Errorf("%s: %s is no failure of the contract", name, r.failed)
			}
		}
		if r.invited != "" && (r.kind != journal.Invite || !r.mark) {
			t.Errorf("%s: an invited event without an invitation", name)
		}
		ends := r.to == journal.Done || r.to == journal.Attention
		if ends != (r.invited != "" || r.failed != "") {
			t.Errorf("%s: every end has an event, and nothing else has", name)
		}
		if r.to == journal.Attention && attentionFailure(r.reason) != r.failed {
			t.Errorf("%s: the table of attention asks for %q", name, attentionFailure(r.reason))
		}
		// Invariant: what may have been executed is never sent again by itself.
		again := r.to == journal.Planned || r.to == journal.Waiting
		switch r.class {
		case invoicebox.Unknown, invoicebox.Done, invoicebox.Unreadable, invoicebox.Refused:
			if again {
				t.Errorf("%s is sent again", name)
			}
		}
		if r.kind == journal.Activate && (r.class == invoicebox.Done || r.class == invoicebox.Unreadable) && r.from != journal.Received {
			t.Errorf("%s: an answer is read before it is durable", name)
		}
	}
}

func TestAfterQuietCoversEverything(t *testing.T) {
	for _, r := range afterQuiet {
		if !Permitted(journal.Unknown, r.to) {
			t.Errorf("%v: no edge to %v", r.kind, r.to)
		}
		if r.to == journal.Attention && attentionFailure(r.reason) == "" {
			t.Errorf("%v: attention without an event", r.kind)
		}
		if r.to == journal.Planned && !r.again {
			t.Errorf("%v: it could be asked for ever", r.kind)
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
		if got := afterQuietOf(c.kind, c.setting, c.unknowns); got.to != c.to || got.reason != c.reason {
			t.Errorf("%v, %s, unknown %d times: %v (%s), want %v (%s)", c.kind, c.setting, c.unknowns, got.to, got.reason, c.to, c.reason)
		}
	}
}

func TestSignalsCoverEverything(t *testing.T) {
	for _, class := range allClasses {
		found := false
		for _, r := range signals {
			found = found || r.class == class && r.kind == 0 && r.status == 0 && r.failure == "" && r.fault == invoicebox.FaultNone && !r.unwritten
		}
		if !found {
			t.Errorf("%v: no row takes what the others leave", class)
		}
	}
	for _, c := range []struct {
		kind   journal.Kind
		v      invoicebox.Verdict
		status int
		want   signal
	}{
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.NotExecuted, Reason: invoicebox.ReasonConnect}, 0, sigFault},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.NotExecuted, Reason: invoicebox.ReasonSendBy}, 0, sigNone},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.NotExecuted, Reason: invoicebox.ReasonTooEarly}, 425, sigNone},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.Unknown, Reason: invoicebox.ReasonCanceled}, 0, sigNone},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.Unknown, Reason: invoicebox.ReasonServerError}, 500, sigFault},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.OurFault, Fault: invoicebox.FaultRights}, 403, sigRights},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.OurFault, Fault: invoicebox.FaultAddress}, 404, sigAddress},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.OurFault, Fault: invoicebox.FaultPartnerID}, 422, sigPartner},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.OurFault, Fault: invoicebox.FaultRequest}, 400, sigRequest},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.OurFault, Fault: invoicebox.FaultRequest, Reason: invoicebox.ReasonValue}, 0, sigNone},
		{journal.Invite, invoicebox.Verdict{Class: invoicebox.Refused}, 409, sigAnswered},
		{journal.Invite, invoicebox.Verdict{Class: invoicebox.Refused}, 422, sigRefused},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.Refused}, 409, sigRefused},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.Done}, 200, sigAnswered},
		{journal.Activate, invoicebox.Verdict{Class: invoicebox.Unreadable}, 200, sigNone},
		{journal.Invite, invoicebox.Verdict{Class: invoicebox.Unreadable}, 200, sigAnswered},
	} {
		if got := signalOf(c.kind, c.v, c.status); got != c.want {
			t.Errorf("%v %s %d: signal %d, want %d", c.v.Class, c.v.Reason, c.status, got, c.want)
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
			advice, ok := schemas.FailureOf(failureType(kind), row.Failure)
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

// Every transition to attention in the source names a reason that has a row.
func TestEveryAttentionInTheSourceHasARow(t *testing.T) {
	declared := declaredReasons(t)
	found := 0
	for _, file := range []string{"perform.go", "settle.go", "planner.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "attention" {
				return true
			}
			name := call.Args[len(call.Args)-1].(*ast.Ident).Name
			found++
			if attentionFailure(declared[name]) == "" {
				t.Errorf("%s: %s has no row with an event", file, name)
			}
			return true
		})
	}
	if found < 5 {
		t.Errorf("only %d calls found", found)
	}
}
