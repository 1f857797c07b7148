package e2e

import (
	"context"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/schemas"
)

// judge checks what must hold whatever happened to the worker: a code and an
// address was sent once and once more for each attempt that is flagged, nothing
// overlapped, every published reference resolves to the token that the sandbox
// issued, repeats are equal to the letter, sequences rise. It returns how many
// requests were made in doubt, by kind.
func (r *rig) judge() map[string]int {
	r.t.Helper()
	effects := r.sandbox.Effects()
	doubt := map[string]int{}
	if effects.Overlaps != 0 {
		r.t.Errorf("%d requests for one subject were under way at once", effects.Overlaps)
	}
	for _, a := range effects.Activations {
		if may := 1 + r.flagged("activate", strings.TrimPrefix(a.Code, codeOf("")), a.Requests); a.Requests > may || a.Effects > 1 || may > 2 {
			r.t.Errorf("code %s: %d requests where %d are accounted for, %d effects", a.Code, a.Requests, may, a.Effects)
		}
		doubt["activate"] += a.Requests - 1
	}
	for _, i := range effects.Invitations {
		shop := strings.TrimSuffix(strings.TrimPrefix(i.Identifier, "owner-"), "@shops.example")
		if may := 1 + r.flagged("invite", shop, i.Requests); i.Requests > may || may > 2 {
			r.t.Errorf("address %s: %d requests where %d are accounted for, %d e-mails", i.Identifier, i.Requests, may, i.Effects)
		}
		doubt["invite"] += i.Requests - 1
	}
	r.judgeOrder()
	r.judgeReferences()
	r.judgeRepeats()
	return doubt
}

// flagged is how many of a shop's attempts the journal has flagged as made in
// doubt. It is asked only where there was more than one request.
func (r *rig) flagged(kind, shop string, requests int) int {
	r.t.Helper()
	if requests < 2 {
		return 0
	}
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	h, err := j.Shop(r.t.Context(), journal.ShopKey{Account: "default", Shop: shop})
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, o := range h.Operations {
		for _, a := range o.Tries {
			if o.Kind.String() == kind && a.Flagged && (a.End == nil || !a.End.NotSent) {
				n++
			}
		}
	}
	return n
}

// judgeOrder: a shop's calls start in the order of its events and never
// overlap. Every shop of these tests is invited before it enters its code.
func (r *rig) judgeOrder() {
	r.t.Helper()
	type call struct{ from, to time.Time }
	invited := map[string]call{}
	for _, q := range r.sandbox.Requests() {
		switch q.Operation {
		case "invite":
			invited[q.Subject] = call{q.Time, q.Time.Add(q.Took)}
		case "activate":
			shop := strings.TrimPrefix(q.Subject, codeOf(""))
			if c, ok := invited[addressOf(shop)]; ok && q.Time.Before(c.to) {
				r.t.Errorf("shop %s: the activation began at %v, before the invitation had ended at %v", shop, q.Time, c.to)
			}
		}
	}
}

// codeOf is the code that the shop has entered.
func (r *rig) codeOf(shop string) string {
	if code, ok := r.codes[shop]; ok {
		return code
	}
	return codeOf(shop)
}

func (r *rig) judgeReferences() {
	r.t.Helper()
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	keys, err := keyset.File{Path: r.path("keyset.json")}.Load(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var store credentials.Store = credentials.NewSealed(keys.Bind(j.Origin().String()))
	if r.store != nil {
		store = r.store(keys)
	}
	for _, e := range r.results(schemas.TypeActivated) {
		a := e.Data.(schemas.Activated)
		code := r.codeOf(a.ShopID)
		scenario.Resolves(r.t, j, store, a, r.sandbox.TokenOf(code), r.sandbox.MerchantOf(code))
	}
}

// judgeRepeats: records with one id are equal to the letter, and a shop's
// sequences rise by their first appearance in a topic.
func (r *rig) judgeRepeats() {
	r.t.Helper()
	for _, typ := range schemas.OutputTypes() {
		scenario.Results(r.t, typ, r.cluster.ReadAll(r.t, r.topics[typ]))
	}
}

// distinct counts the results with different ids.
func distinct(events []schemas.Event) int {
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.ID] = true
	}
	return len(ids)
}

// operation is what `operations list --output json` prints that these tests read.
type operation struct {
	Kind   string `json:"kind"`
	Shop   string `json:"shop"`
	State  string `json:"state"`
	Reason string `json:"reason"`
}

func (r *rig) operations(flags ...string) []operation {
	r.t.Helper()
	args := append([]string{"operations", "list", "--output", "json"}, r.settings()[:2]...)
	out := r.must(append(args, flags...)...)
	var list []operation
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		r.t.Fatalf("operations list --output json: %v\n%.2000s", err, out)
	}
	return list
}
