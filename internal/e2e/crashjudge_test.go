package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// told is an event that was published about a shop.
type told struct{ typ, shop, id, reason string }

// told reads every result topic.
func (r *crashRig) told() []told {
	r.t.Helper()
	var list []told
	for _, typ := range []string{schemas.TypeInvited, schemas.TypeInvitationFailed, schemas.TypeActivated, schemas.TypeActivationFailed} {
		for _, e := range r.results(typ) {
			t := told{typ: typ, id: e.ID}
			switch d := e.Data.(type) {
			case schemas.Invited:
				t.shop, t.reason = d.ShopID, string(d.Outcome)
			case schemas.InvitationFailed:
				t.shop, t.reason = d.ShopID, string(d.Reason)
			case schemas.Activated:
				t.shop, t.reason = d.ShopID, "activated"
			case schemas.ActivationFailed:
				t.shop, t.reason = d.ShopID, string(d.Reason)
			}
			list = append(list, t)
		}
	}
	return list
}

// awaitSettled waits until the worker has read everything and has nothing open,
// but for what the caller says.
func (r *crashRig) awaitSettled(patience time.Duration, open ...string) {
	r.t.Helper()
	var left []string
	await(r.t, patience, "nothing is left to do", func() bool {
		r.renew()
		left = left[:0]
		j := r.openJournal()
		defer func() { _ = j.Close() }()
		s, err := j.Stats(r.t.Context())
		if err != nil {
			left = append(left, err.Error())
			return false
		}
		left = append(left, r.unread(j)...)
		if s.Outbox != 0 {
			left = append(left, fmt.Sprintf("%d events are not published", s.Outbox))
		}
		ops, err := j.Operations(r.t.Context(), journal.OperationFilter{OpenOnly: true, Limit: 1000})
		if err != nil {
			left = append(left, err.Error())
		}
		for _, op := range ops {
			if key := op.Kind.String() + "/" + op.Shop.Shop; op.State.Open() && !slices.Contains(open, key) {
				left = append(left, fmt.Sprintf("%s is %s (%s)", key, op.State, op.Reason))
			}
		}
		return len(left) == 0
	}, func() string { return strings.Join(left, "\n") })
}

// An outcome is how a subject's operation stands, as `operations list` tells.
type outcomes map[string]operation

func (r *crashRig) outcomes() outcomes {
	r.t.Helper()
	out := outcomes{}
	for _, op := range r.operations("--all", "--limit", "1000") {
		key := op.Kind + "/" + op.Shop
		if _, twice := out[key]; twice {
			r.t.Errorf("%s has two operations", key)
		}
		out[key] = op
	}
	return out
}

// judgeCrash checks from outside what must hold wherever the worker was when it
// was killed or frozen, and that every subject came to one of its ends. Where
// nothing was in doubt, as many requests were made as if nothing had happened.
func (r *crashRig) judgeCrash(p crashPoint, may func(subject) ends) {
	r.t.Helper()
	effects := r.sandbox.Effects()
	if effects.Overlaps != 0 {
		r.t.Errorf("%d requests for one subject were under way at once", effects.Overlaps)
	}
	if n := r.count(schemas.TypeDeadLetter); n != 0 {
		r.t.Errorf("%d dead letters", n)
	}
	list, events := r.outcomes(), r.told()
	requests := map[string][]sandbox.Request{}
	for _, q := range r.sandbox.Requests() {
		requests[string(q.Operation)+"/"+q.Subject] = append(requests[string(q.Operation)+"/"+q.Subject], q)
	}
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	for _, s := range r.subjects {
		op, ok := list[s.key()]
		if !ok {
			r.t.Errorf("%s has no operation", s.key())
			continue
		}
		made := requests[s.kind+"/"+s.text]
		if !r.endedIn(s, op, may(s)) {
			r.t.Errorf("%s ended as %s %s, want one of %v; requests: %s", s.key(), op.State, op.Reason, may(s), statuses(made))
		}
		h, err := j.Shop(r.t.Context(), journal.ShopKey{Account: s.account(), Shop: s.shop})
		if err != nil {
			r.t.Fatal(err)
		}
		if p.clean && p.meets(s) && len(made) != s.story.requests && !timedOut(s, h) {
			r.t.Errorf("%s took %d requests, want %d: %s", s.key(), len(made), s.story.requests, statuses(made))
		}
		r.judgeRequests(s, made, h)
		r.judgeEnd(s, op, made, events)
	}
	r.judgeReferences()
	r.judgeRepeats()
	scenario.Positions(r.t, r.cluster, r.group, j)
}

// endedIn tells whether an operation ended in one of the ends; one whose call
// was overtaken by its deadline on a machine with too much to do may do so
// like one that was anywhere.
func (r *crashRig) endedIn(s subject, op operation, may ends) bool {
	r.t.Helper()
	if slices.Contains(may, op.Reason) {
		return true
	}
	if !slices.Contains(sometimeElse(s), op.Reason) {
		return false
	}
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	h, err := j.Shop(r.t.Context(), journal.ShopKey{Account: s.account(), Shop: s.shop})
	if err != nil {
		r.t.Fatal(err)
	}
	return timedOut(s, h)
}

// timedOut tells whether a call took all of its time that was to be answered at once.
func timedOut(s subject, h journal.ShopHistory) bool {
	return !s.late && slices.ContainsFunc(h.Operations, func(op journal.OperationDetail) bool {
		return slices.ContainsFunc(op.Tries, func(a journal.AttemptRecord) bool {
			return a.End != nil && !a.End.Answered && !a.End.NotSent && a.End.At.Sub(a.Started) >= crashDeadline
		})
	})
}

func statuses(made []sandbox.Request) string {
	var words []string
	for _, q := range made {
		words = append(words, fmt.Sprintf("%d effect=%v", q.Status, q.Effect))
	}
	return strings.Join(words, ", ")
}

// judgeRequests: one request, one more for each that was provably not executed,
// and one more for each that is flagged as made in doubt; never two probes of a
// code, and none where a person is to decide.
func (r *crashRig) judgeRequests(s subject, made []sandbox.Request, h journal.ShopHistory) {
	r.t.Helper()
	may, probes := 1, 0
	for _, q := range made[:max(0, len(made)-1)] {
		switch q.Status {
		case 401, 425, 429:
			may++
		}
	}
	for _, op := range h.Operations {
		for _, a := range op.Tries {
			if a.End != nil && a.End.NotSent {
				continue
			}
			if a.Flagged {
				may++
			}
			// One that was not, or probably not, executed did not use the probe up.
			if a.Probe && (a.End == nil || !slices.Contains([]string{"not_executed", "probably_not_executed", "limited", "unauthorized"}, a.End.Outcome)) {
				probes++
			}
		}
	}
	if len(made) > may {
		r.t.Errorf("%s: %d requests where %d are accounted for: %s", s.key(), len(made), may, statuses(made))
	}
	if s.kind == "activate" && (probes > 1 || probes > 0 && r.setting == onboarding.Hold) {
		r.t.Errorf("%s: %d probes with %s", s.key(), probes, r.setting)
	}
}

// judgeEnd: an operation ends in its event, or in attention with the event that
// its reason asks for; nobody hears of a wrong code that was spent.
func (r *crashRig) judgeEnd(s subject, op operation, made []sandbox.Request, events []told) {
	r.t.Helper()
	effects := 0
	for _, q := range made {
		if q.Effect {
			effects++
		}
	}
	success, failure, reason := schemas.TypeInvited, schemas.TypeInvitationFailed, ""
	if s.kind == "activate" {
		success, failure = schemas.TypeActivated, schemas.TypeActivationFailed
		if effects > 1 {
			r.t.Errorf("%s: the code was spent %d times", s.key(), effects)
		}
	}
	typ := failure
	switch {
	case op.State == "attention":
		for _, row := range onboarding.AttentionRows() {
			if string(row.Reason) == op.Reason {
				reason = string(row.Failure)
			}
		}
	case op.State == "done" && (op.Reason == "code_rejected" || op.Reason == "address_rejected"):
		reason = op.Reason
		if effects > 0 && s.kind == "activate" {
			r.t.Errorf("%s: the code is spent and called wrong", s.key())
		}
	case op.State == "done":
		typ, reason = success, op.Reason
		if effects == 0 && op.Reason != "already_invited" {
			r.t.Errorf("%s: %s without an effect", s.key(), op.Reason)
		}
	default:
		r.t.Errorf("%s is %s (%s)", s.key(), op.State, op.Reason)
	}
	successes, found := map[string]bool{}, false
	for _, e := range events {
		if e.shop != s.shop {
			continue
		}
		if e.typ == success {
			successes[e.id] = true
		}
		found = found || e.typ == typ && e.reason == reason
	}
	if !found {
		r.t.Errorf("%s is %s (%s), and no %s with %s was published", s.key(), op.State, op.Reason, typ, reason)
	}
	if len(successes) > 1 || len(successes) > 0 && typ != success {
		r.t.Errorf("%s is %s (%s), and %d different successes were published", s.key(), op.State, op.Reason, len(successes))
	}
}
