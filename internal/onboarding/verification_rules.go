package onboarding

import (
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Reviews of credentials that shops use.
const (
	// DefaultVerifyEvery is how often credentials that work are verified again.
	DefaultVerifyEvery = 24 * time.Hour
	// NoVerifyEvery turns that off.
	NoVerifyEvery = time.Duration(-1)
	// MaxConsecutiveRejections is how many different shops of an account, refused in a row
	// with no success between, speak against the check and not against the shops:
	// from then on none of them is announced until one works.
	MaxConsecutiveRejections = 10
)

// NextCheck is when credentials are verified next.
type NextCheck uint8

// When credentials are checked next.
const (
	Scheduled NextCheck = iota // of the schedule
	RetrySoon                  // growing, up to ReviewCap
	Confirm                    // the same, and when the verification time is over
)

// A VerificationRule says what follows a look at the current credentials of a shop.
// Confirmed are refusals, and nothing else, over the whole verification time,
// that are not withheld because the account's shops are refused in a row.
type VerificationRule struct {
	State     journal.CredentialState
	Answer    journal.ReviewAnswer
	Confirmed bool

	To    journal.CredentialState
	Next  NextCheck
	Event string                  // type of the event to publish, or ""
	Move  *journal.ActivationMove // of the activation, or nil
}

// What a review does to the activation that brought the credentials.
var (
	ToAttention   = &journal.ActivationMove{From: journal.Done, To: journal.Attention, Reason: string(ReasonCredentialsInvalid)}
	FromAttention = &journal.ActivationMove{From: journal.Attention, To: journal.Done, Was: string(ReasonCredentialsInvalid), Reason: string(ReasonActivated)}
	// Replaced: nobody has to look any more at what a newer activation has mended.
	Replaced = &journal.ActivationMove{From: journal.Attention, To: journal.Superseded, Was: string(ReasonCredentialsInvalid), Reason: string(ReasonNewerCode)}
)

// verificationRules is the whole machine of verification after the announcement; a row
// for each state and answer. No answer proves nothing.
var verificationRules = []VerificationRule{
	{journal.CredentialPending, journal.ReviewSilent, false, journal.CredentialPending, RetrySoon, "", nil},
	{journal.CredentialPending, journal.ReviewAccepted, false, journal.CredentialVerified, Scheduled, schemas.TypeCredentialsVerified, nil},
	{journal.CredentialPending, journal.ReviewRefused, false, journal.CredentialPending, Confirm, "", nil},
	{journal.CredentialPending, journal.ReviewRefused, true, journal.CredentialInvalid, Scheduled, schemas.TypeCredentialsInvalid, ToAttention},

	{journal.CredentialVerified, journal.ReviewSilent, false, journal.CredentialVerified, RetrySoon, "", nil},
	{journal.CredentialVerified, journal.ReviewAccepted, false, journal.CredentialVerified, Scheduled, "", nil},
	{journal.CredentialVerified, journal.ReviewRefused, false, journal.CredentialVerified, Confirm, "", nil},
	{journal.CredentialVerified, journal.ReviewRefused, true, journal.CredentialInvalid, Scheduled, schemas.TypeCredentialsInvalid, ToAttention},

	{journal.CredentialInvalid, journal.ReviewSilent, false, journal.CredentialInvalid, Scheduled, "", nil},
	{journal.CredentialInvalid, journal.ReviewAccepted, false, journal.CredentialVerified, Scheduled, schemas.TypeCredentialsVerified, FromAttention},
	{journal.CredentialInvalid, journal.ReviewRefused, false, journal.CredentialInvalid, Scheduled, "", nil},
	{journal.CredentialInvalid, journal.ReviewRefused, true, journal.CredentialInvalid, Scheduled, "", nil},
}

// VerificationRuleOf returns the rule for a check of credentials in use.
func VerificationRuleOf(state journal.CredentialState, answer journal.ReviewAnswer, confirmed bool) VerificationRule {
	for _, r := range verificationRules {
		if r.State == state && r.Answer == answer && r.Confirmed == (confirmed && answer == journal.ReviewRefused) {
			return r
		}
	}
	return VerificationRule{State: state, Answer: answer, To: state, Next: RetrySoon}
}
