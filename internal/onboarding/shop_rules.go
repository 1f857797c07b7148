package onboarding

import (
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// DefaultDestroyAfter is how long the secrets of a disconnected shop, and of replaced
// credentials, are kept.
const DefaultDestroyAfter = 24 * time.Hour

// NeverDestroy keeps them for ever.
const NeverDestroy = time.Duration(-1)

// A ShopEffect says what an action on a shop does to an operation of the shop.
type ShopEffect string

// The effects.
const (
	EffectCancel ShopEffect = "cancel" // it becomes superseded
	EffectRefuse ShopEffect = "refuse" // the action is refused: the operation has to end first
	EffectEnd    ShopEffect = "end"    // it becomes done
	EffectLeave  ShopEffect = "leave"  // it stays as it is
)

// A DisconnectRule says what becomes of an operation of a shop that is disconnected. The
// first row that fits decides.
type DisconnectRule struct {
	State  journal.State
	Reason Reason // "" is any
	Effect ShopEffect
	Why    string // ends with its full stop
}

var disconnectRules = []DisconnectRule{
	{journal.Queued, "", EffectCancel, "No request of it is on its way."},
	{journal.Planned, "", EffectCancel, "No request of it is on its way."},
	{journal.Waiting, "", EffectCancel, "No request of it is on its way."},
	{journal.Claimed, "", EffectRefuse, "A worker is about to send its request."},
	{journal.Sending, "", EffectRefuse, "Its request may be executed at this moment."},
	{journal.Unknown, "", EffectRefuse, "Its request may still be executed. It ends after the quiet period."},
	{journal.Received, "", EffectRefuse, "Its response is being stored, and could activate the shop."},
	{journal.Stored, "", EffectRefuse, "Its token is being checked, and could activate the shop."},
	{journal.Attention, ReasonCredentialsInvalid, EffectEnd, "Its token is the shop's, and must not be used any more."},
	{journal.Attention, "", EffectLeave, "An operator decides."},
}

// DisconnectRules returns the table, for documents and tests.
func DisconnectRules() []DisconnectRule { return append([]DisconnectRule(nil), disconnectRules...) }

func disconnectRuleOf(s journal.State, r Reason) DisconnectRule {
	for _, row := range disconnectRules {
		if row.State == s && (row.Reason == "" || row.Reason == r) {
			return row
		}
	}
	return DisconnectRule{State: s, Effect: EffectRefuse}
}

// PlanDisconnect decides what disconnects a shop as it stands. Publish and DestroyAt are
// the caller's.
func PlanDisconnect(x journal.ShopSituation, now time.Time) (*journal.Disconnect, *ActionError) {
	if x.Active == nil {
		return nil, NewActionError(ResultNotActive, "")
	}
	return planEnd(x, now)
}

// PlanErase decides what ends the work for a shop whose personal data is erased. It is
// what disconnects the shop, except that an operation must not wait for an operator: its
// address, code or response is erased too.
func PlanErase(x journal.ShopSituation, now time.Time) (*journal.Disconnect, *ActionError) {
	var waiting []string
	for _, o := range x.Operations {
		if o.State == journal.Attention && (x.Active == nil || disconnectRuleOf(o.State, Reason(o.Reason)).Effect == EffectLeave) {
			waiting = append(waiting, o.UUID.String()+" ("+o.Reason+")")
		}
	}
	if len(waiting) > 0 {
		return nil, NewActionError(ResultAttention, strings.Join(waiting, ", "))
	}
	return planEnd(x, now)
}

// KeptDetails begin the acts whose details stay in the audit trail when the data of a
// shop is erased: the worker writes them, except for the reasons of the erasures
// themselves.
func KeptDetails() []string { return []string{"credentials.", string(ActionErase) + "."} }

func planEnd(x journal.ShopSituation, now time.Time) (*journal.Disconnect, *ActionError) {
	d := &journal.Disconnect{At: now, Reason: string(ReasonDisconnected)}
	var inFlight []string
	for _, o := range x.Operations {
		switch disconnectRuleOf(o.State, Reason(o.Reason)).Effect {
		case EffectCancel:
			d.Cancel = append(d.Cancel, o.ID)
		case EffectEnd:
			d.End = append(d.End, o.ID)
		case EffectRefuse:
			inFlight = append(inFlight, o.UUID.String()+" is "+o.State.String())
		}
	}
	if len(inFlight) > 0 {
		return nil, NewActionError(ResultInFlight, strings.Join(inFlight, ", "))
	}
	return d, nil
}

// DestroyAt returns when a secret is to be destroyed that is not used from now on; zero
// is never.
func DestroyAt(now time.Time, after time.Duration) time.Time {
	if after < 0 {
		return time.Time{}
	}
	return now.Add(after)
}

// Disconnected makes the event of a shop whose credentials were disconnected. There is
// one for each activation.
func (p Publisher) Disconnected(x journal.ShopSituation, d journal.Disconnect) journal.Draft {
	id := schemas.EventID(x.Active.Operation, x.Run, schemas.TypeDisconnected)
	return p.draft(id, eventContext{
		shop: x.Shop, operation: x.Active.Operation, event: x.EventID, traceParent: x.TraceParent, traceState: x.TraceState,
	}, d.At, schemas.Disconnected{ShopID: x.Shop.Shop, PartnerAccount: x.Shop.Account, DisconnectedAt: d.At.UTC(), DestroyAfter: d.DestroyAt.UTC()})
}
