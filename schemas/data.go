package schemas

import "time"

// Invited says that the shop has an invitation, or needs none.
type Invited struct {
	ShopID         string            `json:"shopId"`
	PartnerAccount string            `json:"partnerAccount"`
	InvitationID   string            `json:"invitationId,omitempty"` // Invoicebox's; empty when its answer could not be read
	InvitedAt      time.Time         `json:"invitedAt"`
	Outcome        InvitationOutcome `json:"outcome"`
}

// InvitationFailed says that the invitation did not come about.
type InvitationFailed struct {
	ShopID         string        `json:"shopId"`
	PartnerAccount string        `json:"partnerAccount"`
	Reason         FailureReason `json:"reason"`
	Action         Action        `json:"action"`
	Final          bool          `json:"final"` // false: an invited event may still follow
}

// Activated says that the shop can take payments; its credentials are where the
// reference points.
type Activated struct {
	ShopID         string       `json:"shopId"`
	PartnerAccount string       `json:"partnerAccount"`
	MerchantID     string       `json:"merchantId"`
	ActivatedAt    time.Time    `json:"activatedAt"`
	Verification   Verification `json:"verification"`
	Credentials    Credentials  `json:"credentials"`
}

// ActivationFailed says that the code did not lead to an activation.
type ActivationFailed struct {
	ShopID         string        `json:"shopId"`
	PartnerAccount string        `json:"partnerAccount"`
	Reason         FailureReason `json:"reason"`
	Action         Action        `json:"action"`
	Final          bool          `json:"final"` // false: an activated event may still follow
}

// CredentialsVerified ends a pending verification well.
type CredentialsVerified struct {
	ShopID         string      `json:"shopId"`
	PartnerAccount string      `json:"partnerAccount"`
	Credentials    Credentials `json:"credentials"`
	CheckedAt      time.Time   `json:"checkedAt"`
}

// CredentialsInvalid ends a pending verification badly, or tells that a token
// stopped working.
type CredentialsInvalid struct {
	ShopID         string      `json:"shopId"`
	PartnerAccount string      `json:"partnerAccount"`
	Credentials    Credentials `json:"credentials"`
	CheckedAt      time.Time   `json:"checkedAt"`
}

// Disconnected says that the shop's credentials must not be used any more.
type Disconnected struct {
	ShopID         string    `json:"shopId"`
	PartnerAccount string    `json:"partnerAccount"`
	DisconnectedAt time.Time `json:"disconnectedAt"`
	DestroyAfter   time.Time `json:"destroyAfter,omitzero"` // until then the store still has the secrets; zero: they are not destroyed
}

// Unanswered says that the shop was invited and has not entered an activation code
// since.
type Unanswered struct {
	ShopID         string    `json:"shopId"`
	PartnerAccount string    `json:"partnerAccount"`
	InvitationID   string    `json:"invitationId,omitempty"` // as Invited.InvitationID
	InvitedAt      time.Time `json:"invitedAt"`
	Reminder       int       `json:"reminder"` // of this invitation, from 1
}

// DeadLetter tells where a record lies that could not be used, never what is
// in it.
type DeadLetter struct {
	Topic     string        `json:"topic"` // the real topic, not the contract's name
	Partition int           `json:"partition"`
	Offset    int64         `json:"offset"`
	EventID   string        `json:"eventId,omitempty"` // as Invalid.EventID
	Reason    InvalidReason `json:"reason"`
	Where     string        `json:"where,omitempty"` // as Invalid.Where
	Time      time.Time     `json:"time"`            // when the record was set aside
}

// Credentials say where a shop's merchant id and token are kept. No part of it
// is secret.
type Credentials struct {
	Ref     string   `json:"ref"`     // pinned to Version, see Reference
	Store   string   `json:"store"`   // as Reference.Store
	Key     string   `json:"key"`     // as Reference.Key
	Version int64    `json:"version"` // from 1
	Fields  []string `json:"fields"`  // what can be asked for: FieldMerchantID, FieldToken
}

// An InvitationOutcome says what became of an invitation.
type InvitationOutcome string

// The outcomes of an invitation.
const (
	OutcomeSent           InvitationOutcome = "sent"            // an e-mail was asked for just now
	OutcomeAlreadyInvited InvitationOutcome = "already_invited" // there was an invitation; none was sent again
	OutcomeAlreadyActive  InvitationOutcome = "already_active"  // the shop is active and needs none
)

// A Verification says whether the new token was seen to work.
type Verification string

// The states of verification.
const (
	VerificationVerified Verification = "verified" // Invoicebox accepted the token
	VerificationPending  Verification = "pending"  // not known yet; a credentials event follows
)

// An Action says what the platform should do about a failure.
type Action string

// The actions.
const (
	ActionRequestNewCode Action = "request_new_code" // ask the shop to enter another code
	ActionContactSupport Action = "contact_support"  // a person has to look at it
	ActionNone           Action = "none"             // nothing: it goes on by itself, or nobody waits for it
)

// A FailureReason says why an invitation or an activation failed.
type FailureReason string

// The reasons of failures; the table behind [LookupFailure] says what each means.
const (
	FailureAddressRejected    FailureReason = "address_rejected"
	FailureCodeRejected       FailureReason = "code_rejected"
	FailureCodeOfOtherShop    FailureReason = "code_of_other_shop"
	FailureOutcomeLost        FailureReason = "outcome_lost"
	FailureOutcomeUnknown     FailureReason = "outcome_unknown"
	FailureAnswerUnreadable   FailureReason = "answer_unreadable"
	FailureCredentialsInvalid FailureReason = "credentials_invalid"
	FailureMerchantConflict   FailureReason = "merchant_conflict"
	FailureStoreConflict      FailureReason = "store_conflict"
	FailureSecondToken        FailureReason = "second_token"
	FailureRequestRejected    FailureReason = "request_rejected"
	FailureProviderChanged    FailureReason = "provider_changed"
	FailureExpired            FailureReason = "expired"
	FailureClosed             FailureReason = "closed"
	FailureCredentialsLost    FailureReason = "credentials_lost"
)
