package onboarding

import (
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// DefaultSource is the CloudEvents source of everything that is published.
const DefaultSource = "/invoicebox-worker"

// A cause is what an outgoing event follows from.
type cause struct {
	shop        journal.ShopKey
	operation   uuid.UUID // the operation that the event speaks of
	event       string    // id of the event that began the run
	traceParent string
	traceState  string
}

// publisher makes outgoing events.
type publisher struct {
	source string
	format schemas.Format
}

// draft makes an event with the given id. Its bytes are made when the journal
// knows the sequence.
func (p publisher) draft(id uuid.UUID, typ string, c cause, at time.Time, data any) journal.Draft {
	event := schemas.Event{
		ID: id.String(), Source: p.source, Type: typ, Subject: c.shop.Shop, Time: at.UTC(),
		CausationID: c.event, OperationID: c.operation.String(),
		TraceParent: c.traceParent, TraceState: c.traceState, Data: data,
	}
	return journal.Draft{ID: id, Type: typ, Freeze: func(sequence int64) (schemas.Message, error) {
		e := event
		e.Sequence = sequence
		return schemas.Encode(e, p.format)
	}}
}

func causeOf(op journal.ClaimedOperation) cause {
	return cause{shop: op.Shop, operation: op.UUID, event: op.EventID, traceParent: op.TraceParent, traceState: op.TraceState}
}

// ofRun makes the event of type typ that this run of the operation leads to: one
// per run and type, whoever makes it and how often.
func (p publisher) ofRun(op journal.ClaimedOperation, typ string, at time.Time, data any) journal.Draft {
	return p.draft(schemas.EventID(op.UUID, op.Run, typ), typ, causeOf(op), at, data)
}

func (p publisher) invited(op journal.ClaimedOperation, outcome schemas.InvitationOutcome, invitationID string, invitedAt, at time.Time) journal.Draft {
	return p.ofRun(op, schemas.TypeInvited, at, schemas.Invited{
		ShopID: op.Shop.Shop, PartnerAccount: op.Shop.Account,
		InvitationID: invitationID, InvitedAt: invitedAt.UTC(), Outcome: outcome,
	})
}

// failed makes the failure event of the operation's kind; what it advises comes
// from the contract's table.
func (p publisher) failed(op journal.ClaimedOperation, reason schemas.FailureReason, at time.Time) journal.Draft {
	typ := failureType(op.Kind)
	return p.ofRun(op, typ, at, failureData(op.Kind, op.Shop, reason))
}

// failedAgain is failed for a failure that may follow another one, or an
// activation, of the same run, because an answer came after all. One id has one
// content, so its id names the reason too.
func (p publisher) failedAgain(op journal.ClaimedOperation, reason schemas.FailureReason, at time.Time) journal.Draft {
	typ := failureType(op.Kind)
	id := schemas.EventID(op.UUID, op.Run, typ+"/"+string(reason))
	return p.draft(id, typ, causeOf(op), at, failureData(op.Kind, op.Shop, reason))
}

func failureType(k journal.Kind) string {
	if k == journal.Invite {
		return schemas.TypeInvitationFailed
	}
	return schemas.TypeActivationFailed
}

func failureData(k journal.Kind, shop journal.ShopKey, reason schemas.FailureReason) any {
	advice, _ := schemas.FailureOf(failureType(k), reason)
	if k == journal.Invite {
		return schemas.InvitationFailed{
			ShopID: shop.Shop, PartnerAccount: shop.Account, Reason: reason, Action: advice.Action, Final: advice.Final,
		}
	}
	return schemas.ActivationFailed{
		ShopID: shop.Shop, PartnerAccount: shop.Account, Reason: reason, Action: advice.Action, Final: advice.Final,
	}
}

func (p publisher) activated(
	op journal.ClaimedOperation, c journal.Credential, ref schemas.Reference, v schemas.Verification, activatedAt, at time.Time,
) journal.Draft {
	return p.ofRun(op, schemas.TypeActivated, at, activatedData(op, c, ref, v, activatedAt))
}

// activatedAgain says that the shop's current activation stands, after this
// operation had said otherwise: a new event, with a sequence of its own.
func (p publisher) activatedAgain(
	op journal.ClaimedOperation, c journal.Credential, ref schemas.Reference, v schemas.Verification, activatedAt, at time.Time,
) journal.Draft {
	id := schemas.EventID(op.UUID, op.Run, schemas.TypeActivated+"/"+string(ReasonKeptToken))
	return p.draft(id, schemas.TypeActivated, causeOf(op), at, activatedData(op, c, ref, v, activatedAt))
}

func activatedData(op journal.ClaimedOperation, c journal.Credential, ref schemas.Reference, v schemas.Verification, activatedAt time.Time) schemas.Activated {
	return schemas.Activated{
		ShopID: op.Shop.Shop, PartnerAccount: op.Shop.Account, MerchantID: c.MerchantID, ActivatedAt: activatedAt.UTC(),
		Verification: v,
		Credentials:  credentialsOf(ref),
	}
}
