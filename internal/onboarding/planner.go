package onboarding

import (
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// DefaultCoolDown is how long a shop gets no second e-mail at the same address.
const DefaultCoolDown = 24 * time.Hour

// PlannerOptions configure [NewPlanner].
type PlannerOptions struct {
	CoolDown time.Duration    // 0: DefaultCoolDown
	Source   string           // "": DefaultSource
	Format   schemas.Format   // "": binary
	Now      func() time.Time // required
}

type planner struct {
	coolDown time.Duration
	out      Publisher
	now      func() time.Time
}

// NewPlanner returns the rules by which an accepted event becomes an
// operation, joins one, is answered at once, or is only kept. It calls nothing
// outside and keeps no state.
func NewPlanner(o PlannerOptions) journal.Planner {
	p := planner{coolDown: o.CoolDown, out: NewPublisher(o.Source, o.Format), now: o.Now}
	if p.coolDown == 0 {
		p.coolDown = DefaultCoolDown
	}
	return p.plan
}

func (p planner) plan(e journal.Event, v journal.ShopView) journal.Plan {
	switch e.Kind {
	case journal.Invite:
		return p.planInvitation(e, v)
	case journal.Activate:
		return p.planActivation(e, v)
	}
	return journal.Plan{}
}

// planInvitation: the rules are tried in order and the first that fits decides.
func (p planner) planInvitation(e journal.Event, v journal.ShopView) journal.Plan {
	now := p.now()
	plan := journal.Plan{}
	older := v.Invited != nil && isOlder(e.Time, v.Invited.EventTime, v.Invited.At)
	for _, op := range v.Open {
		if op.Kind == journal.Invite && v.Active == nil && isOlder(e.Time, op.EventTime, op.Changed) {
			// The shop has chosen anew since: that invitation answers this event too.
			return journal.Plan{Join: op.ID}
		}
	}
	if !older {
		// The newest choice counts: what was planned for another address and
		// was never sent is not sent any more.
		for _, op := range v.Open {
			if cancellable(op) && (v.Active != nil || !op.SameSubject) {
				plan.Cancel = append(plan.Cancel, op.ID)
			}
		}
		if len(plan.Cancel) > 0 {
			plan.CancelReason = string(ReasonNewerAddress)
			if v.Active != nil {
				plan.CancelReason = string(ReasonAlreadyActive)
			}
		}
	}
	if v.Active != nil {
		plan.Publish = p.answerInvited(e, v, schemas.OutcomeAlreadyActive, now)
		return plan
	}
	for _, op := range v.Open {
		if op.Kind == journal.Invite && op.SameSubject {
			plan.Join = op.ID
			return plan
		}
	}
	if same := v.Same; same != nil && same.State == journal.Attention {
		// A person has it. Unknown ones may be sent anew once the cool-down is
		// over, as any other; all else waits for that person.
		if !same.Doubt || p.recent(v, now) {
			plan.Join = same.ID
			return plan
		}
	}
	if older || p.recent(v, now) {
		plan.Publish = p.answerInvited(e, v, schemas.OutcomeAlreadyInvited, now)
		return plan
	}
	switch same := v.Same; {
	case same == nil:
		plan.New = p.newOperation(e, 0)
	case neverSent(*same):
		plan.Rerun = same.ID
	default:
		plan.New = p.newOperation(e, same.Generation+1)
	}
	return plan
}

// isOlder reports whether an event lies before the one that asked for something.
// A time that is absent says nothing about the order: records that have none are
// in the order of their offsets. What was asked for was known when it was done or
// last changed, so its event's time is not later than that. Many producers write
// whole seconds: two events of one second are in the order of their offsets.
func isOlder(event, other, known time.Time) bool {
	if event.IsZero() || other.IsZero() {
		return false
	}
	if !known.IsZero() && other.After(known) {
		other = known
	}
	return event.Before(other.Truncate(time.Second))
}

// recent tells whether this address got an e-mail within the cool-down.
func (p planner) recent(v journal.ShopView, now time.Time) bool {
	if v.Invited != nil && v.Invited.SameAddress && now.Sub(v.Invited.At) < p.coolDown {
		return true
	}
	// The shop's last e-mail went to another address; this one's is older, and
	// may still be young.
	s := v.Same
	return s != nil && !neverSent(*s) && s.State != journal.Attention && !s.Changed.IsZero() && now.Sub(s.Changed) < p.coolDown
}

func cancellable(op journal.OperationView) bool {
	if op.Kind != journal.Invite || op.Doubt {
		return false
	}
	return op.State == journal.Queued || op.State == journal.Planned || op.State == journal.Waiting
}

// neverSent tells whether an ended operation certainly had no effect outside,
// so that the same may be tried again as a new run of it.
func neverSent(op journal.OperationView) bool {
	switch {
	case op.State == journal.Superseded:
		// An activation is superseded after its code was spent, or when its shop was
		// disconnected before it was sent.
		return !op.Doubt && (op.Kind == journal.Invite || Reason(op.Reason) == ReasonDisconnected)
	case op.State != journal.Done:
		return false
	}
	switch Reason(op.Reason) {
	case ReasonRefusedAddress:
		return op.Kind == journal.Invite
	case ReasonRefusedCode, ReasonExpired, ReasonClosed:
		return !op.Doubt
	}
	return false
}

// planActivation: a code belongs to the first shop that sends it, until it was
// refused there.
func (p planner) planActivation(e journal.Event, v journal.ShopView) journal.Plan {
	plan := p.planCode(e, v)
	if plan.Rerun != 0 || plan.New != nil && plan.New.Attention == "" {
		// It would wait for a day behind an invitation that waits for its address.
		for _, op := range v.Open {
			if waitsForAddress(op) {
				plan.Behind = op.ID
			}
		}
	}
	return plan
}

func (p planner) planCode(e journal.Event, v journal.ShopView) journal.Plan {
	same := v.Same
	switch {
	case same == nil:
		return journal.Plan{New: p.newOperation(e, 0)}
	case same.Shop != e.Shop:
		if neverSent(*same) {
			return journal.Plan{New: p.newOperation(e, same.Generation+1)}
		}
		return p.codeOfOtherShop(e)
	case same.State.Open(), same.State == journal.Attention:
		return journal.Plan{Join: same.ID}
	case !v.Disconnected.IsZero() && !neverSent(*same):
		// The code is spent, and what it brought must not be used any more.
		return journal.Plan{Publish: []journal.Draft{p.answerFailed(e, same.UUID, schemas.FailureCodeRejected)}}
	case same.State == journal.Superseded && Reason(same.Reason) != ReasonDisconnected && v.Active == nil:
		// A newer code of the shop stands for it, and is not announced yet.
		return journal.Plan{Join: same.ID}
	case neverSent(*same):
		return journal.Plan{Rerun: same.ID}
	case v.Active != nil:
		return journal.Plan{Republish: v.Active.Event}
	}
	// Closed by a person although it may have been executed: it is not sent
	// again, and the platform gets the same word again.
	return journal.Plan{Publish: []journal.Draft{p.answerFailed(e, same.UUID, schemas.FailureClosed)}}
}

// codeOfOtherShop: the code is not sent, the platform is told, and a person
// gets to see it. The operation's id is the event's own, because the key
// belongs to the other shop.
func (p planner) codeOfOtherShop(e journal.Event) journal.Plan {
	id := schemas.OperationID(e.Kind.String(), e.Shop.Account, e.Shop.Shop, e.Identity[:], 0)
	return journal.Plan{
		New:     &journal.NewOperation{UUID: id, Attention: string(ReasonCodeOfOtherShop)},
		Publish: []journal.Draft{p.answerFailed(e, id, schemas.FailureCodeOfOtherShop)},
	}
}

func (p planner) newOperation(e journal.Event, generation int) *journal.NewOperation {
	shop := e.Shop.Shop
	if e.Kind == journal.Activate {
		shop = "" // one per code, whichever shop
	}
	var mac []byte
	if len(e.SubjectMACs) > 0 {
		mac = e.SubjectMACs[0]
	}
	return &journal.NewOperation{
		UUID:       schemas.OperationID(e.Kind.String(), e.Shop.Account, shop, mac, generation),
		Generation: generation,
	}
}

// eventUUID names an input event as if it were an operation, for answers that
// have none of their own.
func eventUUID(e journal.Event) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, e.Identity[:])
}

func (p planner) answerInvited(e journal.Event, v journal.ShopView, outcome schemas.InvitationOutcome, now time.Time) []journal.Draft {
	data := schemas.Invited{ShopID: e.Shop.Shop, PartnerAccount: e.Shop.Account, Outcome: outcome, InvitedAt: now.UTC()}
	operation := eventUUID(e)
	switch {
	case v.Invited != nil:
		data.InvitedAt, data.InvitationID = v.Invited.At.UTC(), v.Invited.InvitationID
	case v.Active != nil:
		data.InvitedAt = v.Active.At.UTC()
	}
	switch {
	case outcome == schemas.OutcomeAlreadyActive && v.Active.Operation != uuid.Nil:
		operation = v.Active.Operation
	case v.Same != nil:
		operation = v.Same.UUID
	}
	return []journal.Draft{p.answer(e, operation, now, data)}
}

func (p planner) answerFailed(e journal.Event, operation uuid.UUID, reason schemas.FailureReason) journal.Draft {
	return p.answer(e, operation, p.now(), failureData(e.Kind, e.Shop, reason))
}

// answer makes an event that follows from e alone: one per event and type.
func (p planner) answer(e journal.Event, operation uuid.UUID, now time.Time, data schemas.Data) journal.Draft {
	return p.out.draft(schemas.EventID(eventUUID(e), 0, data.Type()), eventContext{
		shop: e.Shop, operation: operation, event: e.ID, traceParent: e.TraceParent, traceState: e.TraceState,
	}, now, data)
}

// waitsForAddress tells whether an operation only waits for its address's cool-down.
func waitsForAddress(op journal.OperationView) bool {
	return op.Kind == journal.Invite && op.State == journal.Planned && Reason(op.Reason) == ReasonAddressCoolDown
}
