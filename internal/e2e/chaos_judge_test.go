package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// A chaosEnd is a line that a matter may have, with what must be true then.
type chaosEnd struct {
	kind           journal.Kind
	line           string
	least, most    int                   // effects
	event          string                // at least one of this type, or ""
	failure        schemas.FailureReason // of that event
	doubtIfEffects bool                  // where there is an effect the journal is in doubt
	orKept         bool                  // or has the answer, which a newer code overtook before it was announced
}

// eachTime: every request may have sent an e-mail; how many there may be is judged
// by themselves.
const eachTime = 1000

// chaosEnds are the lines that there are. Any other is an error.
var chaosEnds = []chaosEnd{
	{kind: journal.Invite, line: "done: sent", least: 1, most: eachTime, event: schemas.TypeInvited},
	{kind: journal.Invite, line: "done: address_rejected", event: schemas.TypeInvitationFailed, failure: schemas.FailureAddressRejected},
	{kind: journal.Invite, line: "done: already_active", most: eachTime, event: schemas.TypeInvited, doubtIfEffects: true},
	{kind: journal.Invite, line: "superseded: newer_address", most: eachTime, doubtIfEffects: true},
	{kind: journal.Invite, line: "superseded: already_active", most: eachTime, doubtIfEffects: true},
	{kind: journal.Invite, line: "superseded: deselected", most: eachTime, doubtIfEffects: true},
	{kind: journal.Invite, line: "attention: outcome_unknown", most: eachTime, event: schemas.TypeInvitationFailed, failure: schemas.FailureOutcomeUnknown, doubtIfEffects: true},
	{kind: journal.Invite, line: "attention: request_rejected", most: eachTime, event: schemas.TypeInvitationFailed, failure: schemas.FailureRequestRejected, doubtIfEffects: true},
	{kind: journal.Invite, line: "no operation: answered"},

	{kind: journal.Activate, line: "done: activated", least: 1, most: 1, event: schemas.TypeActivated},
	{kind: journal.Activate, line: "done: code_rejected", event: schemas.TypeActivationFailed, failure: schemas.FailureCodeRejected},
	{kind: journal.Activate, line: "superseded: newer_code", most: 1, doubtIfEffects: true, orKept: true},
	{kind: journal.Activate, line: "attention: outcome_unknown", most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureOutcomeUnknown, doubtIfEffects: true},
	{kind: journal.Activate, line: "attention: outcome_lost", most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureOutcomeLost, doubtIfEffects: true},
	{kind: journal.Activate, line: "attention: request_rejected", most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureRequestRejected, doubtIfEffects: true},
	{kind: journal.Activate, line: "attention: answer_unreadable", least: 1, most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureAnswerUnreadable},
	{kind: journal.Activate, line: "attention: merchant_conflict", least: 1, most: 1, event: schemas.TypeActivationFailed, failure: schemas.FailureMerchantConflict},
	{kind: journal.Activate, line: "attention: code_of_other_shop", event: schemas.TypeActivationFailed, failure: schemas.FailureCodeOfOtherShop},
	{kind: journal.Activate, line: "superseded: code_of_other_shop", event: schemas.TypeActivationFailed, failure: schemas.FailureCodeOfOtherShop},
}

// tokenKept are the lines of activations whose answer is in the journal.
var tokenKept = []string{"done: activated", "attention: merchant_conflict", "attention: answer_unreadable", "superseded: newer_code"}

// judgeInputs: every record is in one place, and no position passed another.
func (b *book) judgeInputs() {
	sameSet(b, "inbox", b.inputs.accepted, b.accepted)
	sameSet(b, "dead letters of the journal", b.inputs.dead, b.letters)
	told := map[string]bool{}
	for _, p := range b.results[schemas.TypeDeadLetter] {
		d := p.Data.(schemas.DeadLetter)
		told[placeOf(d.Topic, d.Partition, d.Offset)] = true
	}
	sameSet(b, "published dead letters", b.inputs.dead, told)
	j := b.openJournal()
	defer func() { _ = j.Close() }()
	for _, p := range b.unread(j) {
		b.t.Errorf("not read to its end: %s", p)
	}
}

func sameSet[V comparable](b *book, what string, want, got map[string]V) {
	b.t.Helper()
	wrong := 0
	say := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			b.t.Errorf(what+": "+format, args...)
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
		b.t.Errorf("%s: and %d more", what, wrong-5)
	}
}

// judgeEnds: every matter has one line of the table, and what goes with it.
func (b *book) judgeEnds() {
	for _, f := range b.fates {
		i := slices.IndexFunc(chaosEnds, func(e chaosEnd) bool { return e.kind == f.kind && e.line == f.line })
		if i < 0 {
			b.t.Errorf("%s: %q is no end of the table", b.name(f), f.line)
			continue
		}
		e := chaosEnds[i]
		if f.effects < e.least || f.effects > e.most {
			b.t.Errorf("%s: %q with %d effects", b.name(f), f.line, f.effects)
		}
		if e.doubtIfEffects && f.effects > 0 && !f.op.Doubt && !(e.orKept && f.kept()) {
			b.t.Errorf("%s: %q, its effect is there and nobody is in doubt", b.name(f), f.line)
		}
		if e.event == "" {
			continue
		}
		if !slices.ContainsFunc(f.events, func(p published) bool {
			reason, _ := failureOf(p)
			return p.Type == e.event && reason == e.failure
		}) {
			b.t.Errorf("%s: %q without its event", b.name(f), f.line)
		}
	}
	for typ, list := range b.results {
		for _, p := range list {
			if typ != schemas.TypeDeadLetter && b.world.byID[p.CausationID] == nil {
				b.t.Errorf("%s %s was caused by %q, which is no event of ours", typ, p.ID, p.CausationID)
			}
		}
	}
}

// name tells which matter is meant, without its code.
func (b *book) name(f *fate) string {
	name := fmt.Sprintf("%s of shop %s", f.kind, f.shop.Shop)
	if f.op != nil {
		name += " (operation " + f.op.UUID.String() + ")"
	}
	return name
}

// kept tells whether the journal had an answer of the operation.
func (f *fate) kept() bool {
	return slices.ContainsFunc(f.op.Tries, func(a journal.AttemptRecord) bool { return a.HasReceipt })
}

func failureOf(p published) (schemas.FailureReason, bool) {
	switch d := p.Data.(type) {
	case schemas.InvitationFailed:
		return d.Reason, true
	case schemas.ActivationFailed:
		return d.Reason, true
	}
	return "", false
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

// judgeRequests: one request for each run, one more for each that was provably
// not executed, and those that are flagged; of probes there is one.
func (b *book) judgeRequests() {
	for _, f := range b.fates {
		if f.op == nil {
			continue
		}
		may := f.op.Run + f.flagged()
		for _, q := range f.requests {
			if notExecuted(q.Status) {
				may++
			}
		}
		if len(f.requests) > may {
			b.t.Errorf("%s: %d requests where %d are accounted for", b.name(f), len(f.requests), may)
		}
		probes := 0
		for _, a := range f.op.Tries {
			if a.Probe && (a.End == nil || !a.End.NotSent && !notExecuted(a.End.Status) && a.End.Status != 408 && a.End.Status != 503) {
				probes++
			}
		}
		if f.kind == journal.Activate && probes > 1 {
			b.t.Errorf("%s: %d probes", b.name(f), probes)
		}
	}
}

// judgeShops: the requests of a shop never overlap, and those that begin an
// operation come in the order of the operations. A request whose answer nobody
// was there to hear is over for the worker when the quiet period is.
func (b *book) judgeShops() {
	type call struct {
		request
		f *fate
	}
	calls := map[journal.ShopKey][]call{}
	for _, f := range b.fates {
		for _, q := range f.requests {
			calls[f.shop] = append(calls[f.shop], call{q, f})
		}
	}
	for shop, list := range calls {
		slices.SortFunc(list, func(x, y call) int { return x.Time.Compare(y.Time) })
		var last int64
		begun := map[*fate]bool{}
		for i, y := range list {
			for _, x := range list[:i] {
				if (x.Pending || y.Time.Before(x.Answered)) && y.Time.Sub(x.Time) < b.s.quiet {
					b.t.Errorf("shop %s: a request began at %v while one of %v was under way until %v", shop.Shop, y.Time, x.Time, x.Answered)
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
				b.t.Errorf("shop %s: operation %d began after operation %d", shop.Shop, y.f.op.ID, last)
			}
			last = y.f.op.ID
		}
	}
}

// judgeTokens: every published reference resolves to the token that was issued;
// what was answered whole to a worker that lived is kept.
func (b *book) judgeTokens() {
	j := b.openJournal()
	defer func() { _ = j.Close() }()
	keys, err := keyset.Load(b.path("keyset.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	store := credentials.NewSealed(keys.Bind(j.Origin().String()))
	byOperation := map[string]*fate{}
	for _, f := range b.fates {
		if f.op != nil {
			byOperation[f.op.UUID.String()] = f
		}
	}
	for _, p := range b.results[schemas.TypeActivated] {
		a, f := p.Data.(schemas.Activated), byOperation[p.OperationID]
		if f == nil || f.shop != (journal.ShopKey{Account: a.PartnerAccount, Shop: a.ShopID}) {
			b.t.Errorf("activated %s names an operation that is not its shop's", p.ID)
			continue
		}
		ref, err := schemas.ParseReference(a.Credentials.Ref)
		if err != nil {
			b.t.Errorf("%s: %v", b.name(f), err)
			continue
		}
		row, err := j.Credential(context.Background(), journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, ref.Version)
		if err != nil {
			b.t.Errorf("%s: %s does not resolve: %v", b.name(f), ref, err)
			continue
		}
		got, err := store.Open(row)
		if err != nil || got.Token.Reveal() != b.sandbox.TokenOf(f.subject) {
			b.t.Errorf("%s: %s does not resolve to the token that was issued (%v)", b.name(f), ref, err)
		}
		if want := b.merchants[f.subject]; a.MerchantID != want || got.MerchantID != want {
			b.t.Errorf("%s: another merchant than was issued", b.name(f))
		}
	}
	for _, f := range b.fates {
		for _, q := range f.requests {
			if l := b.heard(q); f.kind == journal.Activate && l != nil && !slices.Contains(tokenKept, f.line) {
				b.t.Errorf("%s: answered whole at %v to a worker that lived, and ended as %q; since the request: %s", b.name(f), q.Answered, f.line, b.around(q))
			}
		}
	}
}

// judgeAttention: what the command lists for a person is what the lines say.
func (b *book) judgeAttention() {
	want, got := map[string]int{}, map[string]int{}
	for _, f := range b.fates {
		if rest, ok := strings.CutPrefix(f.line, "attention: "); ok {
			want[f.kind.String()+" "+rest] += f.asked
		}
	}
	for _, op := range b.operations("--attention", "--limit", "100000") {
		got[op.Kind+" "+op.Reason]++
	}
	sameSet(b, "attention", want, got)
}

// judgeWindows: no sliding window held more than the limit.
func (b *book) judgeWindows() {
	for _, l := range append(slices.Clone(b.windows.Accounts), b.windows.IPs...) {
		if l.Most > l.Limit || l.Over != 0 || l.Limited != 0 {
			b.t.Errorf("the limit was broken: %+v", l)
		}
	}
}

// words tell of the figures that are no rows of the ledger.
func (b *book) words() string {
	heard, kept, spent, lost := 0, 0, 0, 0
	for _, f := range b.fates {
		if f.kind != journal.Activate {
			continue
		}
		spent += f.effects
		if f.effects > 0 && !slices.Contains(tokenKept, f.line) {
			lost++
		}
		for _, q := range f.requests {
			if b.heard(q) != nil {
				heard++
				if slices.Contains(tokenKept, f.line) {
					kept++
				}
			}
		}
	}
	most := 0
	for _, l := range b.windows.Accounts {
		most = max(most, l.Most)
	}
	return fmt.Sprintf("codes spent: %d, of which the answer never came: %d (all with a person, or a newer code stands for them)\n"+
		"answers with a token given whole to a worker that lived: %d, kept: %d; references published: %d, all resolve\n"+
		"the most requests of an account in a window: %d of %d; windows over the limit: 0\n", spent, lost, heard, kept, len(b.results[schemas.TypeActivated]), most, b.s.limit)
}
