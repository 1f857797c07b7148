package journal

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A CredentialState is the state of the verification of a shop's current credentials.
type CredentialState uint8

// The states of current credentials. Their numbers are stored.
const (
	CredentialPending  CredentialState = 1 // announced before a check accepted them
	CredentialVerified CredentialState = 2 // accepted at their last check
	CredentialInvalid  CredentialState = 3 // refused, and announced as invalid
)

func (s CredentialState) String() string {
	switch s {
	case CredentialPending:
		return "pending"
	case CredentialVerified:
		return "verified"
	case CredentialInvalid:
		return "invalid"
	}
	return "unknown_state"
}

// A ReviewAnswer is the result of a check of credentials. Its numbers are not stored.
type ReviewAnswer uint8

// The answers.
const (
	ReviewSilent   ReviewAnswer = iota // no information about the credentials
	ReviewAccepted                     // they work
	ReviewRefused                      // they were refused
)

// Reviews record when the current credentials of each active shop are to be checked again.
// A shop has one review, of its current credentials only. It begins with the activation
// that makes them current ([ActiveUpdate]) and replaces the earlier one. It holds no lane.
type Reviews interface {
	// ClaimReviews claims due reviews: those with an open question first, the longest due
	// first. The caller has them until the lease ends or EndReview.
	ClaimReviews(ctx context.Context, r ReviewRequest) (ClaimedReviews, error)
	// EndReview saves the result of a check with its consequences. ErrStale: another
	// caller has claimed the review, or the shop has newer credentials; nothing is changed
	// or published.
	EndReview(ctx context.Context, e ReviewEnd) error
}

// A ReviewRequest asks for due reviews of one account.
type ReviewRequest struct {
	Account string
	Limit   int // at most so many
	Lease   time.Duration
	// Routine: also reviews without an open question. One that is due more than Horizon
	// ahead counts as due, so that neither a clock that was set back nor an earlier,
	// slower schedule delays it for long; 0 is no such bound.
	Routine bool
	Horizon time.Duration
}

// ClaimedReviews are the result of a ReviewRequest.
type ClaimedReviews struct {
	Reviews []Review
	Next    time.Time // when the next review that was asked for is due; zero: there is none
	// Consecutive counts the different shops of the account whose credentials were refused
	// since the credentials of any of its shops were accepted. Only the first refusal of a
	// shop counts.
	Consecutive int
}

// A ReviewRef fences a claim of a review.
type ReviewRef struct{ Shop, Claim int64 }

// A Review is a shop's current credentials, which the caller has claimed for a check.
type Review struct {
	Ref        ReviewRef
	Credential Credential
	State      CredentialState
	// Refused is since when they are refused, zero if they are not. If an earlier process
	// recorded that, it is when the journal was opened, so that it may be compared with
	// the caller's clock.
	Refused time.Time
	Tries   int // checks since they were last accepted
	Events  int // events published about these credentials by reviews
	// Of the activation that brought them.
	Operation   uuid.UUID
	Run         int
	EventID     string
	TraceParent string
	TraceState  string
}

// A ReviewEnd is the result of a check of credentials. Accepted credentials are not
// refused any more, and the responses of their activation can be erased.
type ReviewEnd struct {
	Ref     ReviewRef
	Answer  ReviewAnswer
	State   CredentialState // from now on
	Due     time.Time       // of the next check; zero is now
	Routine bool            // no question is open: the next check is a scheduled one
	Publish []Draft         // of the shop; each counts as an event of reviews
	Move    *ActivationMove // of the activation that brought them
	Audit   *AuditEntry
}

// An ActivationMove moves an ended operation from one end to another. An operation in
// another state or with another reason is unchanged, because another action has changed it
// meanwhile.
type ActivationMove struct {
	From, To State  // Done, Superseded or Attention
	Was      string // its present reason; "" is any
	Reason   string
}
