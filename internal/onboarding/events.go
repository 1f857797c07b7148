package onboarding

import (
	"cmp"
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// DefaultSource is the CloudEvents source of everything that is published.
const DefaultSource = "/invoicebox-worker"

// An eventContext is what an outgoing event follows from.
type eventContext struct {
	shop        journal.ShopKey
	operation   uuid.UUID // the operation that the event speaks of
	event       string    // id of the event that began the run
	traceParent string
	traceState  string
}

// Publisher makes outgoing events.
type Publisher struct {
	source string
	format schemas.Format
}

// NewPublisher makes a publisher of events with a source, "" for DefaultSource, and a
// format, "" for binary.
func NewPublisher(source string, format schemas.Format) Publisher {
	return Publisher{source: cmp.Or(source, DefaultSource), format: cmp.Or(format, schemas.FormatBinary)}
}

// draft makes an event with the given id. Its bytes are made when the journal
// knows the sequence.
func (p Publisher) draft(id uuid.UUID, c eventContext, at time.Time, data schemas.Data) journal.Draft {
	event := schemas.Event{
		ID: id.String(), Source: p.source, Type: data.Type(), Subject: c.shop.Shop, Time: at.UTC(),
		CausationID: c.event, OperationID: c.operation.String(),
		TraceParent: c.traceParent, TraceState: c.traceState, Data: data,
	}
	return journal.Draft{ID: id, Type: event.Type, Freeze: func(sequence int64) (schemas.Message, error) {
		e := event
		e.Sequence = sequence
		return schemas.Encode(e, p.format)
	}}
}

func contextOf(op journal.ClaimedOperation) eventContext {
	return eventContext{shop: op.Shop, operation: op.UUID, event: op.EventID, traceParent: op.TraceParent, traceState: op.TraceState}
}

// ofRun makes the event that this run of the operation leads to: one per run and
// type, whoever makes it and how often.
func (p Publisher) ofRun(op journal.ClaimedOperation, at time.Time, data schemas.Data) journal.Draft {
	return p.draft(schemas.EventID(op.UUID, op.Run, data.Type()), contextOf(op), at, data)
}

// Invited makes the event of an invitation that succeeded, or that was not needed.
func (p Publisher) Invited(op journal.ClaimedOperation, outcome schemas.InvitationOutcome, invitationID string, invitedAt, at time.Time) journal.Draft {
	return p.ofRun(op, at, schemas.Invited{
		ShopID: op.Shop.Shop, PartnerAccount: op.Shop.Account,
		InvitationID: invitationID, InvitedAt: invitedAt.UTC(), Outcome: outcome,
	})
}

// Failed makes the failure event of the operation's kind; what it advises comes
// from the contract's table.
func (p Publisher) Failed(op journal.ClaimedOperation, reason schemas.FailureReason, at time.Time) journal.Draft {
	return p.ofRun(op, at, failureData(op.Kind, op.Shop, reason))
}

// FailedAgain is failed for a failure that may follow another one, or an
// activation, of the same run, because an answer came after all. One id has one
// content, so its id names the reason too.
func (p Publisher) FailedAgain(op journal.ClaimedOperation, reason schemas.FailureReason, at time.Time) journal.Draft {
	id := schemas.EventID(op.UUID, op.Run, failureType(op.Kind)+"/"+string(reason))
	return p.draft(id, contextOf(op), at, failureData(op.Kind, op.Shop, reason))
}

func failureType(k journal.Kind) string {
	if k == journal.Invite {
		return schemas.TypeInvitationFailed
	}
	return schemas.TypeActivationFailed
}

func failureData(k journal.Kind, shop journal.ShopKey, reason schemas.FailureReason) schemas.Data {
	advice, _ := schemas.LookupFailure(failureType(k), reason)
	if k == journal.Invite {
		return schemas.InvitationFailed{
			ShopID: shop.Shop, PartnerAccount: shop.Account, Reason: reason, Action: advice.Action, Final: advice.Final,
		}
	}
	return schemas.ActivationFailed{
		ShopID: shop.Shop, PartnerAccount: shop.Account, Reason: reason, Action: advice.Action, Final: advice.Final,
	}
}

// Activated makes the event of an activation whose credentials are stored.
func (p Publisher) Activated(
	op journal.ClaimedOperation, c journal.Credential, ref schemas.Reference, v schemas.Verification, activatedAt, at time.Time,
) journal.Draft {
	return p.ofRun(op, at, activatedData(op, c, ref, v, activatedAt))
}

// ActivatedAgain says that the shop's current activation stands, after this
// operation had said otherwise: a new event, with a sequence of its own.
func (p Publisher) ActivatedAgain(
	op journal.ClaimedOperation, c journal.Credential, ref schemas.Reference, v schemas.Verification, activatedAt, at time.Time,
) journal.Draft {
	id := schemas.EventID(op.UUID, op.Run, schemas.TypeActivated+"/"+string(ReasonKeptToken))
	return p.draft(id, contextOf(op), at, activatedData(op, c, ref, v, activatedAt))
}

func activatedData(op journal.ClaimedOperation, c journal.Credential, ref schemas.Reference, v schemas.Verification, activatedAt time.Time) schemas.Activated {
	return schemas.Activated{
		ShopID: op.Shop.Shop, PartnerAccount: op.Shop.Account, MerchantID: c.MerchantID, ActivatedAt: activatedAt.UTC(),
		Verification: v,
		Credentials:  credentialsOf(ref),
	}
}

// Verified makes the event that tells what became of credentials. There may be
// several of one type about them, so its id counts them.
func (p Publisher) Verified(v journal.Review, typ string, now time.Time) (journal.Draft, error) {
	ref, err := schemas.ParseReference(v.Credential.Reference)
	if err != nil {
		return journal.Draft{}, err
	}
	var data schemas.Data = schemas.CredentialsVerified{
		ShopID: v.Credential.Shop.Shop, PartnerAccount: v.Credential.Shop.Account, Credentials: credentialsOf(ref), CheckedAt: now.UTC(),
	}
	if typ == schemas.TypeCredentialsInvalid {
		data = schemas.CredentialsInvalid(data.(schemas.CredentialsVerified))
	}
	id := schemas.EventID(v.Operation, v.Run, fmt.Sprintf("%s/%d", typ, v.Events+1))
	return p.draft(id, eventContext{
		shop: v.Credential.Shop, operation: v.Operation, event: v.EventID, traceParent: v.TraceParent, traceState: v.TraceState,
	}, now, data), nil
}

// credentialsOf says where they are. The version is the store's, which the
// reference names: a store that counts on its own may have another one than the
// journal.
func credentialsOf(ref schemas.Reference) schemas.Credentials {
	return schemas.Credentials{
		Ref: ref.Pinned(ref.Version).String(), Store: ref.Store, Key: ref.Key(), Version: ref.Version,
		Fields: []string{schemas.FieldMerchantID, schemas.FieldToken},
	}
}

// Publishable tells whether an event keeps the contract: one that does not would
// fail in the journal's transaction again and again.
func Publishable(d journal.Draft) bool {
	_, err := d.Freeze(1)
	return err == nil
}

// OfAttention makes the events that a reason of attention asks for.
func (p Publisher) OfAttention(op journal.ClaimedOperation, r Reason, now time.Time) []journal.Draft {
	if f := AttentionFailure(r); f != "" {
		if mayFollowAnotherFailure(op, r) {
			return []journal.Draft{p.FailedAgain(op, f, now)}
		}
		return []journal.Draft{p.Failed(op, f, now)}
	}
	return nil
}
