package journal

import (
	"time"

	"github.com/google/uuid"
)

// A ClaimRequest asks for due operations of one account, kind and stage.
type ClaimRequest struct {
	Account string
	Kind    Kind
	Stage   Stage
	Limit   int           // at most so many
	Lease   time.Duration // how long they are the caller's
	Owner   string        // who claims, for people
	// Invitations: tell the event of the shop's last invitation. For traces.
	Invitations bool
}

// A ClaimRef fences a claim: every later step names it and fails with
// [ErrStale] when the operation has been claimed by another since.
type ClaimRef struct {
	Operation int64
	Claim     int64
}

// A ClaimedOperation is an operation that the caller holds until its lease ends.
// A Planned or Waiting one is now Claimed; one in another stage keeps its state.
type ClaimedOperation struct {
	Ref        ClaimRef
	UUID       uuid.UUID
	Kind       Kind
	State      State
	Shop       ShopKey
	Run        int
	Generation int
	Attempts   int // requests started so far, over all runs
	Waits      int // waits in a row since the run began: the back-off's exponent
	Doubt      bool
	Unknowns   int  // attempts whose outcome nobody knows, over all runs; every later attempt is a probe
	Newer      bool // of one with Unknowns: operations of its kind are queued behind it
	// Activating, of an invitation: the shop has an activation whose answer is
	// there and whose end is not.
	Activating  bool
	Reason      string
	SubjectMAC  []byte
	Sealed      []byte    // the address or code
	Planned     time.Time // when the run began
	EventID     string    // the event that began the run
	EventTime   time.Time
	TraceParent string
	TraceState  string
	// Invitation is the event that began the run of the shop's last invitation that
	// was sent; nil where there was none, or nobody asked.
	Invitation  *Cause
	NextVersion int64          // of the shop's credentials
	Active      *ActiveView    // of the shop
	Receipt     *StoredReceipt // the newest, in stage Settle
	Credential  *Credential    // the one that this operation stored, in state Stored
	StoredAt    time.Time      // in state Stored: since when, or, of an earlier process, when the journal was opened
	// Late are receipts that the operation did not go on with, oldest first; an
	// ended one, or one in attention over an answer, is claimed in stage Settle
	// when one came. Known are those with which it and the shop's current
	// activation went on, as far as they are kept.
	Late, Known []StoredReceipt
	// Stored, beside Late, are the credentials that it stored and the shop's
	// current ones: they outlive the receipts.
	Stored      []Credential
	OpenAttempt int // number of the attempt that has no end yet, 0 for none
	// Closed, in state Unknown: after it nothing of the last attempt can have
	// left its worker. That is when its connection was closed; where nobody said
	// so, when its deadline had passed and its lease had been ended; and for an
	// attempt of an earlier process, which only a stored time could date, when
	// the journal was opened. It never goes back, and may be compared with the
	// caller's clock.
	Closed time.Time
	// CircuitClosed is for how long, since the run began, the account's circuit breaker was not
	// open. It counts over restarts; a clock that went back takes nothing from it.
	CircuitClosed time.Duration
}

// A Cause is an event that began a run.
type Cause struct {
	EventID     string
	TraceParent string
}

// An AttemptStart makes an attempt durable before its first byte leaves.
type AttemptStart struct {
	Ref     ClaimRef
	Attempt int  // expected number: Attempts + 1, or ErrStale
	Flagged bool // made in doubt
	Probe   bool // made after an unknown outcome, to learn of it
	// SendBy and Deadline, from the call of BeginAttempt: after SendBy nothing is
	// written any more, after Deadline the connection is closed. A lease that
	// ends before the answer can be written is prolonged.
	SendBy, Deadline time.Duration
	Permits          []Permit
	// Address, of an invitation: the attempt is refused while the address's cool-down
	// lasts. Nil: no rule, and the attempt keeps no address.
	Address *AddressRule
}

// A Permit names a ledger and its rule: at most Limit requests in every
// sliding Window. It comes back one Window after the answer; without an answer
// one Slack and one Window after the connection was closed, or, where nobody
// can say when that was, after Deadline has passed.
type Permit struct {
	RateLimit string // an account's name behind "account/", or "egress"
	Limit     int
	Window    time.Duration
	Slack     time.Duration
}

// A Check is an attempt that belongs to no operation's effect: a look whether
// a token works. It takes permits like any other.
type Check struct {
	Account          string
	SendBy, Deadline time.Duration
	Permits          []Permit
}

// An AttemptID names an attempt of any kind. That of a check which began with a response
// is negative.
type AttemptID int64

// An AttemptEnd is what became of an attempt.
type AttemptEnd struct {
	Answered  bool      // a status line came: the permit comes back a window later
	NotSent   bool      // provably nothing was written: the permit comes back at once
	At        time.Time // when the answer was complete or the connection closed
	Status    int
	Outcome   string // closed set: invoicebox's classes
	Code      string // business code, sanitised
	RequestID string
	Reason    string // closed set: invoicebox's reasons; empty where the answer is not parsed yet
}

// A Receipt is the whole answer of an activation, sealed before it is parsed.
type Receipt struct {
	Ref     ClaimRef
	Attempt AttemptID
	Sealed  []byte
	// SealedFor says what brought the answer: its seal names it.
	SealedFor string
	End       AttemptEnd
}

// A StoredReceipt is a receipt as it lies in the journal.
type StoredReceipt struct {
	Operation uuid.UUID // to which its seal is bound
	Attempt   AttemptID
	Sealed    []byte
	SealedFor string
	At        time.Time
}

// A Credential is a sealed secret, one version of one shop.
type Credential struct {
	Shop       ShopKey
	Version    int64
	Reference  string // pinned
	MerchantID string
	Sealed     []byte // nil where another store holds the secret
	Proof      []byte // beside the secret in another store; it names a look-up key
	At         time.Time
}

// A Transition moves an operation from one state to another, with all that
// has to be true at the same instant.
type Transition struct {
	Ref    ClaimRef
	From   State
	To     State
	Due    time.Time // for Planned, Waiting, Received, Stored, Unknown; zero is now. Until then it stays the caller's
	Reason string    // closed set
	Doubt  bool      // ORed to what is there
	// Behind, with To Planned: the operation steps behind all that is queued in
	// its shop's lane and is Queued until the lane is free of them. Where nobody is
	// queued, but for others that stepped behind, it stays Planned, until Due.
	Behind bool
	// NewRun begins the next run: a person starts calls again. Its place in the
	// lane is behind every event taken so far. Probe, with it: every attempt of the
	// run is made to learn of an unknown outcome.
	NewRun, Probe bool
	// Supersede, where it is not empty: operations of the same shop and kind
	// whose runs began before this one's, which are in doubt, and which stepped
	// behind or wait for a person without an answer, for one of the reasons Over,
	// become Superseded with this reason.
	Supersede string
	Over      []string
	// Unsent, with Supersede: operations of the same shop and kind that wait for a
	// person for one of these reasons, of which nothing was ever sent, become
	// Superseded too, whichever run began first.
	Unsent []string
	// Compared: the receipts that came late have been looked at.
	Compared bool
	// Verified: the credentials that its receipts brought work, which ends what
	// the receipts are kept for.
	Verified bool
	// Entered, where it is not nil, is a sealed receipt that a person brought
	// instead of an answer: the operation goes on with it from here. EnteredFor is
	// its SealedFor.
	Entered    []byte
	EnteredFor string
	// Intent ends in the same transaction. ErrStale when it has ended.
	Intent *IntentEnd
	// Current, where it is not 0, is the newest version of the shop's credentials
	// that the caller knows of, which the transition rests on: ErrOlderVersion
	// when the shop's current ones are newer.
	Current int64
	Attempt AttemptID   // 0 when no attempt ends with it
	End     *AttemptEnd // of Attempt

	// Credential is inserted. ErrMerchantConflict when its merchant id differs
	// from the shop's or is another shop's of the account; ErrVersionTaken when
	// its version exists.
	Credential *Credential
	Invited    *InvitedUpdate
	Active     *ActiveUpdate
	Publish    []Draft
	Audit      *AuditEntry
}

// InvitedUpdate makes this operation the shop's last invitation. Its address
// and event time are the operation's.
type InvitedUpdate struct {
	At           time.Time
	InvitationID string
	// Remind is when the shop is to be reminded of it; zero: never. See [Reminders].
	Remind time.Time
}

// ActiveUpdate makes the operation's credential the shop's current one.
// ErrOlderVersion when the current one is newer.
type ActiveUpdate struct {
	At    time.Time
	Event uuid.UUID
	// Its review begins as verified or pending, as the transition's Verified
	// says, and is due at Review; zero is now.
	Review time.Time
	// DestroyAt is when the secrets of older versions are to be destroyed; zero is never.
	DestroyAt time.Time
	// Replaced moves the activation whose credentials were current so far, where
	// it is another: nobody looks at those any more. What its receipts were kept
	// for has ended with it.
	Replaced *ActivationMove
}

// An AuditEntry is an act of a person or of the worker on a person's behalf.
type AuditEntry struct {
	ID      int64     // set when it is read: from 1, without gaps
	At      time.Time // zero is now
	Actor   string
	Act     string
	Subject string
	Detail  string // never a secret; "" once it is erased
	// Set when it is read: see [DetailDigest] and [AuditHash].
	Salt   []byte
	Digest []byte
	Hash   []byte
}
