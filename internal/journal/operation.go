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
	Lease   time.Duration // of the claims
	Owner   string        // the claiming worker, for operators
	// Invitations: return the event of each shop's last invitation too, for traces.
	Invitations bool
}

// A ClaimRef fences a claim: every later step names it, and fails with [ErrStale] after
// another claim of the operation.
type ClaimRef struct {
	Operation int64
	Claim     int64
}

// A ClaimedOperation is an operation that the caller has until its lease ends. A Planned
// or Waiting operation is now Claimed; in stage Settle the state is unchanged.
type ClaimedOperation struct {
	Ref        ClaimRef
	UUID       uuid.UUID
	Kind       Kind
	State      State
	Shop       ShopKey
	Run        int
	Generation int
	Attempts   int // requests started so far, over all runs
	Waits      int // consecutive waits since the run began: the back-off's exponent
	Doubt      bool
	Unknowns   int  // attempts with an unknown outcome, over all runs; every later attempt is a probe
	Newer      bool // if Unknowns > 0: operations of its kind are queued behind it
	// Activating, of an invitation: the shop has an activation that has a response and has
	// not ended.
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
	// was sent; nil if there was none, or if the request did not ask for it.
	Invitation  *Cause
	NextVersion int64          // of the shop's credentials
	Active      *ActiveView    // of the shop
	Receipt     *StoredReceipt // the newest response, in stage Settle
	Credential  *Credential    // the one that this operation stored, in state Stored
	StoredAt    time.Time      // in state Stored: since when, or, if an earlier process stored it, when the journal was opened
	// Late are the responses that the operation did not continue with, the oldest first.
	// When one arrives, an operation that has ended, or is in attention because of a
	// response, is claimed in stage Settle. Known are the responses with which it and the
	// shop's current activation continued, as far as they are retained.
	Late, Known []StoredReceipt
	// Stored, set with Late, are the credentials that it stored and the shop's current
	// ones. They are retained longer than responses.
	Stored      []Credential
	OpenAttempt int // number of the attempt without an end, 0 for none
	// ConnectionClosed, in state Unknown, is the instant after which nothing of the last attempt can
	// have left its worker. That is when its connection was closed. If that is unknown, it
	// is when the deadline had passed and the lease had been ended. For an attempt of an
	// earlier process it is when the journal was opened. It never decreases, and may be
	// compared with the caller's clock.
	ConnectionClosed time.Time
	// CircuitOpen is for how long the account's circuit breaker was open (not active) since the
	// run began. It counts over restarts; a clock that is set back does not reduce it.
	CircuitOpen time.Duration
}

// A Cause is an event that began a run.
type Cause struct {
	EventID     string
	TraceParent string
}

// An AttemptStart makes an attempt durable before its first byte is sent.
type AttemptStart struct {
	Ref     ClaimRef
	Attempt int  // expected number: Attempts + 1, or ErrStale
	Flagged bool // made in doubt
	Probe   bool // made to learn an unknown outcome
	// SendBy and Deadline count from the call of BeginAttempt. After SendBy nothing more
	// is written; after Deadline the connection is closed. A lease that would end before
	// the response can be saved is extended.
	SendBy, Deadline time.Duration
	Permits          []Permit
	// Address, of an invitation: the attempt is refused during the cool-down of its
	// address. Nil: there is no cool-down, and the attempt stores no address.
	Address *AddressRule
}

// A Permit names a ledger and its rule: at most Limit requests in every sliding Window. It
// is available again one Window after the response. Without a response that is one Slack
// and one Window after the connection was closed or, if that instant is unknown, after
// Deadline.
type Permit struct {
	RateLimit string // an account's name behind "account/", or "egress"
	Limit     int
	Window    time.Duration
	Slack     time.Duration
}

// A Check is a request that belongs to no operation: it checks whether a token works. It
// takes permits like an attempt of an operation.
type Check struct {
	Account          string
	SendBy, Deadline time.Duration
	Permits          []Permit
}

// An AttemptID names an attempt of any kind. It is negative for a check that began with
// the save of a response.
type AttemptID int64

// An AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	Answered  bool      // a status line arrived: the permit is available one window later
	NotSent   bool      // nothing was written: the permit is available at once
	At        time.Time // when the response was complete or the connection was closed
	Status    int
	Outcome   string // closed set: invoicebox's classes
	Code      string // business code, sanitised
	RequestID string
	Reason    string // closed set: invoicebox's reasons; empty if the response is not parsed yet
}

// A Receipt is the whole response of an activation, sealed before it is parsed.
type Receipt struct {
	Ref     ClaimRef
	Attempt AttemptID
	Sealed  []byte
	// SealedFor is the origin of the response; the seal is bound to it.
	SealedFor string
	End       AttemptEnd
}

// A StoredReceipt is a receipt as the journal stores it.
type StoredReceipt struct {
	Operation uuid.UUID // the seal is bound to it
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
	Sealed     []byte // nil if another store has the secret
	Proof      []byte // beside the secret in another store; it names a look-up key
	At         time.Time
}

// A Transition moves an operation from one state to another, with all changes of the same
// commit.
type Transition struct {
	Ref    ClaimRef
	From   State
	To     State
	Due    time.Time // for Planned, Waiting, Received, Stored, Unknown; zero is now. Until then the caller has the operation
	Reason string    // closed set
	Doubt  bool      // ORed with the operation's
	// Behind, with To Planned: the operation steps behind all queued operations of its
	// shop's lane, and is Queued until they have left it. If none is queued, except others
	// that stepped behind, it stays Planned until Due.
	Behind bool
	// NewRun begins the next run, for an operator action. Its place in the lane is behind
	// every event that was accepted so far. Probe, with NewRun: every attempt of the run
	// is made to learn an unknown outcome.
	NewRun, Probe bool
	// Supersede, if not empty, is the reason with which earlier operations of the same
	// shop and kind become Superseded: those whose runs began before this one's and are in
	// doubt. They must have stepped behind, or wait for an operator without a response,
	// for one of the reasons Over.
	Supersede string
	Over      []string
	// Unsent, with Supersede: operations of the same shop and kind become Superseded too
	// if they wait for an operator for one of these reasons and nothing of them was ever
	// sent, whichever run began first.
	Unsent []string
	// Compared: the late responses were compared.
	Compared bool
	// Verified: the credentials from its responses work, so that the responses can be
	// erased.
	Verified bool
	// Entered, if not nil, is a sealed receipt that an operator entered in place of a
	// response: the operation continues with it. EnteredFor is its SealedFor.
	Entered    []byte
	EnteredFor string
	// Intent ends in the same transaction. ErrStale: it has ended.
	Intent *IntentEnd
	// Current, if not 0, is the newest version of the shop's credentials that the caller
	// knows. ErrOlderVersion: the shop's current version is newer.
	Current int64
	Attempt AttemptID   // 0 if no attempt ends with it
	End     *AttemptEnd // of Attempt

	// Credential is inserted. ErrMerchantConflict: its merchant id differs from the
	// shop's, or belongs to another shop of the account. ErrVersionTaken: its version
	// exists.
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

// ActiveUpdate makes the operation's credential the shop's current one. ErrOlderVersion:
// the current one is newer.
type ActiveUpdate struct {
	At    time.Time
	Event uuid.UUID
	// Its review begins as verified or pending, depending on the transition's Verified,
	// and is due at Review; zero is now.
	Review time.Time
	// DestroyAt is when the secrets of older versions are to be destroyed; zero is never.
	DestroyAt time.Time
	// Replaced moves the activation whose credentials were current so far, if it is
	// another. Those credentials are not checked any more, and its responses can be
	// erased.
	Replaced *ActivationMove
}

// An AuditEntry is an operator action, or an action of the worker on an operator's behalf.
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
