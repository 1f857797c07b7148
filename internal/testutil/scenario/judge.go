package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// An end is one that a subject may have, with what must be true then.
type end struct {
	kind           journal.Kind
	end            string
	least, most    int                   // effects
	event          string                // at least one of this type, or ""
	failure        schemas.FailureReason // of that event
	doubtIfEffects bool                  // where there is an effect the journal is in doubt
	orSaved        bool                  // or has the answer, which a newer code overtook before it was announced
}

// eachTime: every request may have sent an e-mail; how many there may be is judged
// by themselves.
const eachTime = 1000

// ends are those that there are. Any other is an error.
var ends = []end{
	{kind: journal.Invite, end: "done: sent", least: 1, most: eachTime, event: schemas.TypeInvited},
	{kind: journal.Invite, end: "done: already_invited", most: eachTime, event: schemas.TypeInvited},
	{kind: journal.Invite, end: "done: address_rejected", event: schemas.TypeInvitationFailed, failure: schemas.FailureAddressRejected},
	{kind: journal.Invite, end: "done: already_active", most: eachTime, event: schemas.TypeInvited, doubtIfEffects: true},
	{kind: journal.Invite, end: "superseded: newer_address", most: eachTime, doubtIfEffects: true},
	{kind: journal.Invite, end: "superseded: already_active", most: eachTime, doubtIfEffects: true},
	{kind: journal.Invite, end: "superseded: deselected", most: eachTime, doubtIfEffects: true},
	{kind: journal.Invite, end: "attention: outcome_unknown", most: eachTime, event: schemas.TypeInvitationFailed, failure: schemas.FailureOutcomeUnknown, doubtIfEffects: true},
	{kind: journal.Invite, end: "attention: request_rejected", most: eachTime, event: schemas.TypeInvitationFailed, failure: schemas.FailureRequestRejected, doubtIfEffects: true},
	{kind: journal.Invite, end: "no operation: answered"},

	{kind: journal.Activate, end: "done: activated", least: 1, most: 1, event: schemas.TypeActivated},
	{kind: journal.Activate, end: "done: code_rejected", event: schemas.TypeActivationFailed, failure: schemas.FailureCodeRejected},
	{kind: journal.Activate, end: "superseded: newer_code", most: 1, doubtIfEffects: true, orSaved: true},
	{kind: journal.Activate, end: "attention: outcome_unknown", most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureOutcomeUnknown, doubtIfEffects: true},
	{kind: journal.Activate, end: "attention: outcome_lost", most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureOutcomeLost, doubtIfEffects: true},
	{kind: journal.Activate, end: "attention: request_rejected", most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureRequestRejected, doubtIfEffects: true},
	{kind: journal.Activate, end: "attention: answer_unreadable", least: 1, most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureAnswerUnreadable},
	{kind: journal.Activate, end: "attention: credentials_invalid", least: 1, most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureCredentialsInvalid},
	{kind: journal.Activate, end: "attention: merchant_conflict", least: 1, most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureMerchantConflict},
	{kind: journal.Activate, end: "attention: code_of_other_shop", event: schemas.TypeActivationFailed, failure: schemas.FailureCodeOfOtherShop},
	{kind: journal.Activate, end: "superseded: code_of_other_shop", event: schemas.TypeActivationFailed, failure: schemas.FailureCodeOfOtherShop},
}

// tokenSaved are the ends of activations whose answer is in the journal.
var tokenSaved = []string{"done: activated", "attention: merchant_conflict", "attention: answer_unreadable", "attention: credentials_invalid", "superseded: newer_code"}

// judgeInputs: every record is in one place.
func (o *oracle) judgeInputs() {
	o.Helper()
	SameSet(o, "inbox", o.inputs.accepted, o.accepted)
	SameSet(o, "dead letters of the journal", o.inputs.dead, o.letters)
	published := map[string]bool{}
	for _, p := range o.results[schemas.TypeDeadLetter] {
		d := p.Data.(schemas.DeadLetter)
		published[place(d.Topic, d.Partition, d.Offset)] = true
	}
	SameSet(o, "published dead letters", o.inputs.dead, published)
}

// SameSet compares what must be with what is.
func SameSet[V comparable](tb testing.TB, what string, want, got map[string]V) {
	tb.Helper()
	wrong := 0
	say := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			tb.Errorf(what+": "+format, args...)
		}
	}
	for key, v := range want {
		if g, ok := got[key]; !ok || g != v {
			say("%s: want %v, got %v", key, v, g)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			say("%s is too much", key)
		}
	}
	if wrong > 5 {
		tb.Errorf("%s: and %d more", what, wrong-5)
	}
}

// judgePositions: all was read.
func (o *oracle) judgePositions() {
	for _, p := range Unread(o, o.Cluster, o.Topics, o.Journal) {
		o.Errorf("not read to its end: %s", p)
	}
	Positions(o, o.Cluster, o.Group, o.Journal)
}

// judgeEnds: every subject has one end of the table, and what goes with it.
func (o *oracle) judgeEnds() {
	for _, f := range o.fates {
		i := slices.IndexFunc(ends, func(e end) bool { return e.kind == f.Kind && e.end == f.end })
		if i < 0 {
			o.Errorf("%s: %q is no end of the table%s", f, f.end, f.calls())
			continue
		}
		e := ends[i]
		if f.effects < e.least || f.effects > e.most {
			o.Errorf("%s: %q with %d effects%s", f, f.end, f.effects, f.calls())
		}
		if e.doubtIfEffects && f.effects > 0 && !f.op.Doubt && !(e.orSaved && f.saved()) {
			o.Errorf("%s: %q, its effect is there and nobody is in doubt%s", f, f.end, f.calls())
		}
		if e.event == "" {
			continue
		}
		if !slices.ContainsFunc(f.events, func(p published) bool {
			return p.Type == e.event && failureOf(p.Event) == e.failure
		}) {
			o.Errorf("%s: %q without its event", f, f.end)
		}
	}
	for typ, list := range o.results {
		for _, p := range list {
			if typ != schemas.TypeDeadLetter && o.Story.byEvent[p.CausationID] == nil {
				o.Errorf("%s %s was caused by %q, which is no event of ours", typ, p.ID, p.CausationID)
			}
		}
	}
}

// String names the subject without its code.
func (f *fate) String() string {
	name := fmt.Sprintf("%s of shop %s", f.Kind, f.Shop.Shop)
	if f.op != nil {
		name += " (operation " + f.op.UUID.String() + ")"
	}
	return name
}

// calls tells of the subject's requests.
func (f *fate) calls() string {
	var b strings.Builder
	for _, q := range f.requests[:min(len(f.requests), 8)] {
		fmt.Fprintf(&b, " [%s %d %s effect=%t until %s]", q.Time.Format("15:04:05.000"), q.Status, q.Fault, q.Effect, q.Answered.Format("15:04:05.000"))
	}
	return b.String()
}

// saved tells whether the journal had an answer of the operation.
func (f *fate) saved() bool {
	return slices.ContainsFunc(f.op.Tries, func(a journal.AttemptRecord) bool { return a.HasReceipt })
}

func failureOf(e schemas.Event) schemas.FailureReason {
	switch d := e.Data.(type) {
	case schemas.InvitationFailed:
		return d.Reason
	case schemas.ActivationFailed:
		return d.Reason
	}
	return ""
}

// judgeOutput: what the journal has made is in its topic to the letter, and nothing else
// is; no sequence of a shop was given twice.
func (o *oracle) judgeOutput() {
	made, seen := o.outputs(), map[uuid.UUID]bool{}
	for typ, list := range o.results {
		for _, p := range list {
			id, err := uuid.Parse(p.ID)
			if err != nil {
				o.Errorf("event id %q: %v", p.ID, err)
			}
			seen[id] = true
			if typ == schemas.TypeDeadLetter {
				continue
			}
			if out, ok := made[id]; !ok || out.Type != typ || out.Sequence != p.Sequence || string(out.Value) != string(p.raw.Value) {
				o.Errorf("%s %s of shop %s is not what the journal has", typ, id, p.Subject)
			}
		}
	}
	for shop, h := range o.histories {
		given := map[int64]bool{}
		for _, out := range h.Output {
			if !seen[out.Event] || !out.Published {
				o.Errorf("%s: %s %s is not in its topic", shop.Shop, out.Type, out.Event)
			}
			if given[out.Sequence] {
				o.Errorf("shop %s: sequence %d was given twice", shop.Shop, out.Sequence)
			}
			given[out.Sequence] = true
		}
	}
}

// notExecuted are the statuses that prove that nothing was done.
func notExecuted(status int) bool { return status == 401 || status == 425 || status == 429 }

// flagged is how many requests the journal made in doubt and cannot prove that
// they were not executed.
func (f *fate) flagged() int {
	if f.op == nil {
		return 0
	}
	n := 0
	for _, a := range f.op.Tries {
		if a.Flagged && (a.End == nil || !a.End.NotSent && !notExecuted(a.End.Status)) {
			n++
		}
	}
	return n
}

// attempts is how many requests may have been written.
func (f *fate) attempts() int {
	n := 0
	for _, a := range f.op.Tries {
		if a.End == nil || !a.End.NotSent {
			n++
		}
	}
	return n
}

// judgeRequests: each was in the journal before it was sent. There is one for each run,
// one more for each that was provably not executed, and those that are flagged; of probes
// there is one.
func (o *oracle) judgeRequests() {
	if o.Effects.Overlaps != 0 && o.Quiet == 0 {
		o.Errorf("%d requests for one subject were under way at once", o.Effects.Overlaps)
	}
	for _, f := range o.fates {
		if f.op == nil {
			continue
		}
		may := f.op.Run + f.flagged()
		for _, q := range f.requests {
			if notExecuted(q.Status) {
				may++
			}
		}
		if len(f.requests) > may || len(f.requests) > f.attempts() {
			o.Errorf("%s: %d requests where %d are accounted for, of %d attempts%s", f, len(f.requests), may, f.attempts(), f.calls())
		}
		probes := 0
		for _, a := range f.op.Tries {
			if a.Probe && (a.End == nil || !a.End.NotSent && !notExecuted(a.End.Status) && a.End.Status != 408 && a.End.Status != 503) {
				probes++
			}
		}
		if f.Kind == journal.Activate && probes > 1 {
			o.Errorf("%s: %d probes", f, probes)
		}
	}
}

// judgeShops: the requests of a shop never overlap, and those that begin an
// operation come in the order of the operations. A request whose answer nobody
// was there to hear is over for the worker when the quiet period is.
func (o *oracle) judgeShops() {
	type call struct {
		sandbox.Request
		f *fate
	}
	calls := map[journal.ShopKey][]call{}
	for _, f := range o.fates {
		for _, q := range f.requests {
			calls[f.Shop] = append(calls[f.Shop], call{q, f})
		}
	}
	for shop, list := range calls {
		slices.SortFunc(list, func(x, y call) int { return x.Time.Compare(y.Time) })
		var last int64
		begun := map[*fate]bool{}
		for i, y := range list {
			for _, x := range list[:i] {
				if (x.Pending || y.Time.Before(x.Answered)) && (o.Quiet == 0 || y.Time.Sub(x.Time) < o.Quiet) {
					o.Errorf("shop %s: a request began at %v while one of %v was under way until %v", shop.Shop, y.Time, x.Time, x.Answered)
				}
			}
			// An operation that is run again keeps its old number, and of one with an
			// attempt that never arrived the first that did may be a probe, which
			// newer ones go before.
			if begun[y.f] || y.f.op.Run > 1 || y.f.attempts() > len(y.f.requests) {
				continue
			}
			begun[y.f] = true
			if y.f.op.ID < last {
				o.Errorf("shop %s: operation %d began after operation %d", shop.Shop, y.f.op.ID, last)
			}
			last = y.f.op.ID
		}
	}
}

// judgeTokens: every published reference resolves to the token that was issued.
func (o *oracle) judgeTokens() {
	byOperation := map[string]*fate{}
	for _, f := range o.fates {
		if f.op != nil {
			byOperation[f.op.UUID.String()] = f
		}
	}
	for _, p := range o.results[schemas.TypeActivated] {
		a, f := p.Data.(schemas.Activated), byOperation[p.OperationID]
		if f == nil || f.Shop != (journal.ShopKey{Account: a.PartnerAccount, Shop: a.ShopID}) {
			o.Errorf("activated %s names an operation that is not its shop's", p.ID)
			continue
		}
		Resolves(o, o.Journal, o.Store, a, o.TokenOf(f.Text), o.merchants[f.Text])
	}
}

// judgeAnswers: what was answered whole to a worker that lived on is saved.
func (o *oracle) judgeAnswers() {
	for _, f := range o.fates {
		for _, q := range f.requests {
			if f.Kind == journal.Activate && o.Heard(q) && !slices.Contains(tokenSaved, f.end) {
				o.Errorf("%s: answered whole at %v to a worker that lived, and ended as %q; since the request: %s", f, q.Answered, f.end, o.Around(q))
			}
		}
	}
}

// judgeWindows: no sliding window held more than the limit.
func (o *oracle) judgeWindows() {
	for _, l := range slices.Concat(o.Windows.Accounts, o.Windows.IPs) {
		if l.Limit > 0 && l.Peak > l.Limit || l.Exceeded != 0 || l.Limited != 0 {
			o.Errorf("the limit was broken: %+v", l)
		}
	}
}

// waiting counts the operations that wait for an operator, by kind and reason.
func (o *oracle) waiting() map[string]int {
	n := map[string]int{}
	for _, f := range o.fates {
		if reason, ok := strings.CutPrefix(f.end, "attention: "); ok {
			n[f.Kind.String()+" "+reason] += f.asked
		}
	}
	return n
}

// ledger tells what went in, what came out, and how the subjects ended.
func (o *oracle) ledger() string {
	var out strings.Builder
	in := o.inputs
	fmt.Fprintf(&out, "what went in: %d records of %d shops = %d accepted + %d repeated + %d ignored + %d dead letters (%d of them with a reused id)\n",
		in.records, len(o.Story.Shops), len(in.accepted), in.repeated, in.ignored, len(in.dead), in.reused)
	fmt.Fprint(&out, "what came out: ")
	for _, typ := range schemas.OutputTypes() {
		fmt.Fprintf(&out, "%s %d, ", strings.TrimPrefix(typ, "shop.invoicebox_"), len(o.results[typ]))
	}
	fmt.Fprintf(&out, "and %d repeats, equal to the letter\n\n", o.repeats)
	type row struct{ subjects, requests, doubted, effects, events int }
	rows := map[string]*row{}
	var total row
	for _, f := range o.fates {
		key := f.Kind.String() + "\t" + f.end
		if rows[key] == nil {
			rows[key] = &row{}
		}
		for _, x := range []*row{rows[key], &total} {
			x.subjects++
			x.requests += len(f.requests)
			x.doubted += f.flagged()
			x.effects += f.effects
			x.events += len(f.events)
		}
	}
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "kind\tended as\tsubjects\trequests\tin doubt\teffects\tresults")
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		x := rows[key]
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", key, x.subjects, x.requests, x.doubted, x.effects, x.events)
	}
	_, _ = fmt.Fprintf(w, "all\t\t%d\t%d\t%d\t%d\t%d\n", total.subjects, total.requests, total.doubted, total.effects, total.events)
	_ = w.Flush()
	requests, effects := 0, 0
	for _, list := range o.requests {
		requests += len(list)
	}
	for _, n := range o.effects {
		effects += n
	}
	if requests != total.requests || effects != total.effects {
		o.Errorf("the sandbox saw %d requests and %d effects, the subjects add up to %d and %d", requests, effects, total.requests, total.effects)
	}
	fmt.Fprintf(&out, "the sandbox saw %d requests and had %d effects\n", requests, effects)
	spent, heard, saved := 0, 0, 0
	for _, f := range o.fates {
		if f.Kind != journal.Activate {
			continue
		}
		spent += f.effects
		for _, q := range f.requests {
			if !o.Heard(q) {
				continue
			}
			heard++
			if slices.Contains(tokenSaved, f.end) {
				saved++
			}
		}
	}
	fmt.Fprintf(&out, "codes spent: %d; answers with a token given whole to a worker that lived: %d, saved: %d\n", spent, heard, saved)
	return out.String()
}
