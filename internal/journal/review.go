package journal

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A CredentialState says what is known of a shop's current credentials.
type CredentialState uint8

// The states of current credentials. Their numbers are stored.
const (
	CredentialPending  CredentialState = 1 // announced before anybody saw them work
	CredentialVerified CredentialState = 2 // worked when they were last asked about
	CredentialInvalid  CredentialState = 3 // stopped working, or never did, and that was announced
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

// A ReviewAnswer is what a look at credentials brought. Its numbers are not stored.
type ReviewAnswer uint8

// The answers.
const (
	ReviewSilent   ReviewAnswer = iota // nothing that speaks of them
	ReviewAccepted                     // they work
	ReviewRefused                      // they were refused
)

// Reviews are the journal's part that knows when the current credentials of
// each active shop are to be looked at again. A shop has one review, of its
// current credentials only: it begins with the activation that makes them
// current ([ActiveUpdate]) and replaces the one before. It holds no lane.
type Reviews interface {
	// ClaimReviews takes due reviews: those of which something is open first,
	// the longest due first. They are the caller's until the lease ends or
	// EndReview.
	ClaimReviews(ctx context.Context, r ReviewRequest) (ClaimedReviews, error)
	// EndReview writes what a look brought, with all that follows. ErrStale when
	// the review is another's by now, or the shop has newer credentials; then
	// nothing is changed, and nothing published.
	EndReview(ctx context.Context, e ReviewEnd) error
}

// A ReviewRequest asks for due reviews of one account.
type ReviewRequest struct {
	Account string
	Limit   int // at most so many
	Lease   time.Duration
	// Routine: also reviews of which nothing is open. One that lies more than
	// Horizon ahead is due as well, so that neither a clock that went back nor a
	// schedule that was slower before puts it off for long; 0 is no such bound.
	Routine bool
	Horizon time.Duration
}

// ClaimedReviews are what a ReviewRequest got.
type ClaimedReviews struct {
	Reviews []Review
	Next    time.Time // when the next one is due; zero: none that was asked for
	// Consecutive is how many different shops of the account were refused, each for the
	// first time since it had worked, since any shop's credentials were accepted.
	Consecutive int
}

// A ReviewRef fences a claim of a review.
type ReviewRef struct{ Shop, Claim int64 }

// A Review is a shop's current credentials, held by the caller for a look.
type Review struct {
	Ref        ReviewRef
	Credential Credential
	State      CredentialState
	// Refused is since when they are refused, zero when they are not. Of an
	// earlier process it is when the journal was opened: it may be compared with
	// the caller's clock.
	Refused time.Time
	Tries   int // looks since they were last accepted
	Events  int // events published about these credentials by reviews
	// Of the activation that brought them.
	Operation   uuid.UUID
	Run         int
	EventID     string
	TraceParent string
	TraceState  string
}

// A ReviewEnd is what a look at credentials brought. Accepted ones are not
// refused any more, and are what the activation's receipts were kept for.
type ReviewEnd struct {
	Ref     ReviewRef
	Answer  ReviewAnswer
	State   CredentialState // from now on
	Due     time.Time       // of the next look; zero is now
	Routine bool            // nothing is open: the next look is of the schedule
	Publish []Draft         // of the shop; each is counted as an event of reviews
	Move    *ActivationMove // of the activation that brought them
	Audit   *AuditEntry
}

// An ActivationMove takes an operation that has ended from one such state to
// another. An operation that is elsewhere, or has another reason, is left
// alone: somebody had a say in it meanwhile.
type ActivationMove struct {
	From, To State  // Done, Superseded or Attention
	Was      string // the reason that it has; "" is any
	Reason   string
}
