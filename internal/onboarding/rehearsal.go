package onboarding

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// A RehearsedStep is what an event would lead to.
type RehearsedStep string

// The steps.
const (
	RehearsedInvite     RehearsedStep = "invite"      // a request to Invoicebox: an invitation
	RehearsedActivate   RehearsedStep = "activate"    // a request to Invoicebox: an activation
	RehearsedJoin       RehearsedStep = "join"        // an operation for the same exists
	RehearsedPublish    RehearsedStep = "publish"     // an event is published at once
	RehearsedAttention  RehearsedStep = "attention"   // nothing is sent, and an operator gets to see it
	RehearsedRepeat     RehearsedStep = "repeat"      // the event was accepted before
	RehearsedDeadLetter RehearsedStep = "dead_letter" // the record cannot be used
	RehearsedStore      RehearsedStep = "store"       // the event is stored and leads to nothing
	RehearsedDeselect   RehearsedStep = "deselect"    // invitations that were not sent are canceled
)

// A Rehearsed is what an event would lead to.
type Rehearsed struct {
	Step          RehearsedStep
	Operation     uuid.UUID // of invite, activate, join and attention
	Reason        string    // of attention and dead_letter
	Publishes     []string  // types of the events that are published at once
	Cancels       int       // invitations that were not sent and are canceled
	NotRemembered bool      // the event is not remembered: those after it do not see it
}

// maxRehearsed is how many events a rehearsal remembers, at about 650 bytes each.
const maxRehearsed = 100_000

// A Rehearsal plans events and changes nothing. It remembers what it planned, so that an
// event sees those before it, up to a number of events. Operations that it planned are not
// executed: a later event finds them open.
type Rehearsal struct {
	limit     int
	plan      journal.Planner
	now       func() time.Time
	seen      map[[32]byte][]byte // identities of events, with their digests
	last      int64               // ids of operations, below 0
	byID      map[int64]*rehearsedOperation
	byShop    map[journal.ShopKey][]*rehearsedOperation
	bySubject map[rehearsedSubject]*rehearsedOperation
	canceled  map[int64]string // operations of the journal, with the reason
}

type rehearsedOperation struct {
	view journal.OperationView
	macs [][]byte
}

type rehearsedSubject struct {
	kind  journal.Kind
	scope journal.ShopKey
	mac   string
}

// NewRehearsal begins a rehearsal with a planner.
func NewRehearsal(plan journal.Planner, now func() time.Time) *Rehearsal {
	return &Rehearsal{
		limit: maxRehearsed, plan: plan, now: now, seen: map[[32]byte][]byte{}, byID: map[int64]*rehearsedOperation{}, byShop: map[journal.ShopKey][]*rehearsedOperation{},
		bySubject: map[rehearsedSubject]*rehearsedOperation{}, canceled: map[int64]string{},
	}
}

// Event plans an event that the journal sees as the preview says.
func (r *Rehearsal) Event(e journal.Event, p journal.Preview) Rehearsed {
	digest, again := r.seen[e.Identity]
	switch {
	case p.Known, again && string(digest) == string(e.Digests[0]):
		return Rehearsed{Step: RehearsedRepeat}
	case p.Reused, again:
		return Rehearsed{Step: RehearsedDeadLetter, Reason: string(schemas.ReasonIDReused)}
	}
	full := len(r.seen) >= r.limit
	if !full {
		r.seen[e.Identity] = e.Digests[0]
	}
	v := r.view(e, p.View)
	plan := r.plan(e, v)
	out := Rehearsed{Step: RehearsedStore, Cancels: len(plan.Cancel), NotRemembered: full}
	for _, d := range plan.Publish {
		out.Publishes = append(out.Publishes, d.Type)
	}
	if plan.Republish != uuid.Nil {
		out.Publishes = append(out.Publishes, schemas.TypeActivated)
	}
	if len(out.Publishes) > 0 {
		out.Step = RehearsedPublish
	}
	for _, id := range plan.Cancel {
		r.cancel(id, plan.CancelReason)
	}
	request := map[journal.Kind]RehearsedStep{journal.Invite: RehearsedInvite, journal.Activate: RehearsedActivate}[e.Kind]
	switch {
	case plan.New != nil && plan.New.Attention != "":
		out.Step, out.Operation, out.Reason = RehearsedAttention, plan.New.UUID, plan.New.Attention
	case plan.New != nil:
		out.Step, out.Operation = request, plan.New.UUID
		r.last--
		r.open(e, journal.OperationView{ID: r.last, UUID: plan.New.UUID, Generation: plan.New.Generation, Run: 1})
	case plan.Rerun != 0:
		again := *v.Same
		again.Run++
		out.Step, out.Operation = request, again.UUID
		r.open(e, again)
	case plan.Join != 0:
		out.Step = RehearsedJoin
		for _, o := range append(v.Open, journal.OperationView{}) {
			if o.ID == plan.Join {
				out.Operation = o.UUID
			}
		}
		if v.Same != nil && v.Same.ID == plan.Join {
			out.Operation = v.Same.UUID
		}
	}
	return out
}

// Deselect cancels what a choice of another provider cancels of a shop.
func (r *Rehearsal) Deselect(shop journal.ShopKey, p journal.Preview) Rehearsed {
	out := Rehearsed{Step: RehearsedDeselect}
	for _, o := range r.view(journal.Event{Shop: shop}, p.View).Open {
		if cancellable(o) {
			r.cancel(o.ID, string(ReasonDeselected))
			out.Cancels++
		}
	}
	return out
}

// view adds to the journal's view what was planned before.
func (r *Rehearsal) view(e journal.Event, v journal.ShopView) journal.ShopView {
	open := slices.DeleteFunc(slices.Clone(v.Open), func(o journal.OperationView) bool {
		_, canceled := r.canceled[o.ID]
		return canceled || r.byID[o.ID] != nil
	})
	for _, o := range r.byShop[e.Shop] {
		if o.view.State.Open() {
			seen := o.view
			seen.SameSubject = slices.ContainsFunc(o.macs, func(m []byte) bool { return among(m, e.SubjectMACs) })
			open = append(open, seen)
		}
	}
	v.Open = open
	if v.Same != nil {
		if reason, canceled := r.canceled[v.Same.ID]; canceled {
			same := *v.Same
			same.State, same.Reason = journal.Superseded, reason
			v.Same = &same
		}
	}
	for _, mac := range e.SubjectMACs {
		if o := r.bySubject[subjectOf(e, mac)]; o != nil {
			same := o.view
			same.SameSubject = true
			v.Same = &same
		}
	}
	return v
}

// open begins a run.
func (r *Rehearsal) open(e journal.Event, v journal.OperationView) {
	v.Kind, v.Shop, v.State, v.Reason, v.EventTime, v.Changed = e.Kind, e.Shop, journal.Planned, "", e.Time, r.now()
	o := r.byID[v.ID]
	if o == nil {
		if len(r.byID) >= r.limit {
			return
		}
		o = &rehearsedOperation{}
		r.byID[v.ID] = o
		r.byShop[e.Shop] = append(r.byShop[e.Shop], o)
	}
	o.view, o.macs = v, e.SubjectMACs
	for _, mac := range e.SubjectMACs {
		r.bySubject[subjectOf(e, mac)] = o
	}
}

func (r *Rehearsal) cancel(id int64, reason string) {
	if o := r.byID[id]; o != nil {
		o.view.State, o.view.Reason = journal.Superseded, reason
		return
	}
	if len(r.canceled) < r.limit {
		r.canceled[id] = reason
	}
}

// subjectOf names an address of a shop, or a code of an account.
func subjectOf(e journal.Event, mac []byte) rehearsedSubject {
	s := rehearsedSubject{e.Kind, e.Shop, string(mac)}
	if e.Kind == journal.Activate {
		s.scope.Shop = ""
	}
	return s
}

func among(mac []byte, macs [][]byte) bool {
	return slices.ContainsFunc(macs, func(m []byte) bool { return string(m) == string(mac) })
}
