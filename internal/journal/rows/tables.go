package rows

import "invoicebox-worker/internal/journal"

// An Account at Invoicebox.
type Account struct {
	ID                    int64  `db:"id,key"`
	Name                  string `db:"name,fixed"`
	PartnerID             string `db:"partner_id,fixed"`
	Created               int64  `db:"created,fixed"`
	Circuit               int64  `db:"circuit"` // the state, see package stored
	CircuitReason         string `db:"circuit_reason"`
	CircuitUntil          int64  `db:"circuit_until,null"` // only for throttled and backing off
	CircuitCount          int64  `db:"circuit_count"`      // consecutive faults
	CircuitSince          int64  `db:"circuit_since,null"`
	OpenTime              int64  `db:"open_time"`              // for how many microseconds the circuit breaker was open (not active), up to open_since
	OpenSince             int64  `db:"open_since,null"`        // since when the circuit breaker is open; NULL while it is active
	ConsecutiveRejections int64  `db:"consecutive_rejections"` // different shops whose credentials were refused since some were accepted
}

// A Shop holds what the planner needs of a shop.
type Shop struct {
	ID               int64  `db:"id,key"`
	Account          int64  `db:"account,fixed"`
	Name             string `db:"name,fixed"`
	Sequence         int64  `db:"sequence"`         // of the last outgoing event
	Version          int64  `db:"version"`          // of the newest credential
	MerchantID       string `db:"merchant_id,null"` // of every credential
	InvitedOperation int64  `db:"invited_operation,null"`
	InvitedAt        int64  `db:"invited_at,null"`
	InvitedEventTime int64  `db:"invited_event_time,null"`
	InvitedMAC       []byte `db:"invited_mac,null"`
	InvitationID     string `db:"invitation_id,null"`
	ActiveOperation  int64  `db:"active_operation,null"` // the current activation
	ActiveAt         int64  `db:"active_at,null"`
	ActiveVersion    int64  `db:"active_version,null"`
	ActiveEvent      []byte `db:"active_event,null"` // uuid of the activated event
	DisconnectedAt   int64  `db:"disconnected_at,null"`
	RemindDue        int64  `db:"remind_due,null"` // when the next reminder of the last invitation is due
	Reminded         int64  `db:"reminded"`        // reminders of the last invitation

	// The verification of the current credentials, only of an active shop.
	ReviewState   journal.CredentialState `db:"review_state"`
	ReviewRoutine bool                    `db:"review_routine"`      // no question is open: the next check is a scheduled one
	ReviewDue     int64                   `db:"review_due,null"`     // of the next check, or the end of a claim
	ReviewClaim   int64                   `db:"review_claim"`        // increases with each claim and with newer credentials: the fencing token
	ReviewRefused int64                   `db:"review_refused,null"` // since when they are refused
	ReviewTries   int64                   `db:"review_tries"`        // checks since they were accepted last
	ReviewEvents  int64                   `db:"review_events"`       // events published about them
}

// An Operation is the part of an operation that changes.
type Operation struct {
	ID          int64         `db:"id,key"`
	Account     int64         `db:"account,fixed"`
	Shop        int64         `db:"shop,fixed"`
	Kind        journal.Kind  `db:"kind,fixed"`
	State       journal.State `db:"state"`
	Stage       int64         `db:"stage"`       // 0 nothing to claim, 1 call, 2 settle, 3 leased (claimed, sending)
	DueAt       int64         `db:"due_at,null"` // stages 1 and 2: when it can be claimed, or when the lease ends (leased); 3: end of the lease
	Lane        int64         `db:"lane,null"`   // see package stored
	Claim       int64         `db:"claim"`       // increases with each claim: the fencing token
	LeaseHeld   bool          `db:"leased"`      // only in stage 2: due_at is the end of a lease
	Replica     int64         `db:"replica"`
	Run         int64         `db:"run"`
	Attempts    int64         `db:"attempts"`   // requests started, over all runs
	Waits       int64         `db:"waits"`      // consecutive waits since the run began
	Doubt       bool          `db:"doubt"`      // some attempt may have been executed
	Unknowns    int64         `db:"unknowns"`   // attempts with an unknown outcome, over all runs
	Late        bool          `db:"late"`       // a response came that the run did not continue with and that was not compared yet
	Event       int64         `db:"event"`      // that began the run
	LaneOrder   int64         `db:"lane_order"` // place in the lane, by what began the run
	Restored    int64         `db:"restored"`   // the number of the last recovery that examined it
	OpenTime    int64         `db:"open_time"`  // account.open_time, up to that moment, when the run began
	Planned     int64         `db:"planned"`    // when the run began
	Changed     int64         `db:"changed"`    // when the state last changed
	LastAttempt int64         `db:"last_attempt,null"`
	Receipt     int64         `db:"receipt,null"` // attempt of the newest receipt of the run
	Received    bool          `db:"received"`     // the run went through the state received
	Version     int64         `db:"version,null"` // of the credential that the run stored
	StoredAt    int64         `db:"stored_at,null"`
	Verified    int64         `db:"verified,null"` // when its credentials were found to work
	Reason      string        `db:"reason"`
	Owner       string        `db:"owner"` // the worker that claimed it last

	// The check of a token that began when its response was saved; see [Attempt].
	CheckOpen    bool   `db:"check_open"` // it has no end yet
	CheckSlack   int64  `db:"check_slack"`
	CheckLedgers string `db:"check_ledgers"`
	CheckGrain   int64  `db:"check_grain"`
	CheckFrom    int64  `db:"check_from,null"` // the permits are available again one window later
}

// A Body is the part of an operation that is written once, with the [Event] that created
// the operation.
type Body struct {
	ID         int64  `db:"id,key"`
	UUID       []byte `db:"uuid,fixed"`
	MAC        []byte `db:"mac,fixed"`
	Generation int64  `db:"generation,fixed"`
	Subject    []byte `db:"subject,fixed"` // the address or code, sealed; only Reseal replaces it
}

// An Attempt is a request that may have been sent, with its response. Number is 0 if an
// operator entered the response: then nothing was sent.
type Attempt struct {
	ID         int64  `db:"id,key"`
	Account    int64  `db:"account,fixed"`
	Operation  int64  `db:"operation,null,fixed"` // NULL for a check of a token
	Number     int64  `db:"number,fixed"`
	Flagged    bool   `db:"flagged,fixed"` // made in doubt
	Probe      bool   `db:"probe,fixed"`   // made after an unknown outcome
	Replica    int64  `db:"replica,fixed"`
	Started    int64  `db:"started,fixed"`
	SendBy     int64  `db:"send_by,fixed"`
	Deadline   int64  `db:"deadline,fixed"`
	Slack      int64  `db:"slack,fixed"`
	Ledgers    string `db:"ledgers,fixed"`    // ledger ids: decimal numbers with a space between
	Grain      int64  `db:"grain,fixed"`      // counts_from is rounded up to its multiples
	Ended      int64  `db:"ended,null"`       // when the response was complete or the connection closed
	CountsFrom int64  `db:"counts_from,null"` // the permits are available again one window later; NULL when nothing was sent
	Answered   bool   `db:"answered"`
	NotSent    bool   `db:"not_sent"`
	Slow       bool   `db:"slow"` // took, or may take, longer than an opening looks back by started
	Status     int64  `db:"status"`
	Outcome    string `db:"outcome"`
	Code       string `db:"code"`
	RequestID  string `db:"request_id"`
	Reason     string `db:"reason"`
	MAC        []byte `db:"mac,null,fixed"`   // of the address of an invitation, if the cool-down of addresses is on
	Answer     []byte `db:"answer,null,wide"` // the response of an activation, or the credentials that an operator entered instead
	AnswerKey  int64  `db:"answer_key,null"`
	AnswerAt   int64  `db:"answer_at,null"` // when the response was saved
	SealedFor  string `db:"sealed_for"`
}

// A Credential is one version of a shop's secret.
type Credential struct {
	Shop       int64  `db:"shop,key"`
	Version    int64  `db:"version,key"`
	Operation  int64  `db:"operation,fixed"`
	Created    int64  `db:"created,fixed"`
	Reference  string `db:"reference,fixed"`
	MerchantID string `db:"merchant_id,fixed"`
	Secret     []byte `db:"secret,null,fixed"` // NULL if another store holds it, and once it is destroyed
	SecretKey  int64  `db:"secret_key,null,fixed"`
	Proof      []byte `db:"proof,null,fixed"`      // beside the secret in another store
	DestroyAt  int64  `db:"destroy_at,null,fixed"` // this and the following are changed only by statements
	Destroyed  int64  `db:"destroyed,null,fixed"`
}

// An Intent is an operator action that a command has requested.
type Intent struct {
	ID         int64               `db:"id,key,auto"`
	UUID       []byte              `db:"uuid,fixed"`
	At         int64               `db:"at,fixed"`
	Actor      string              `db:"actor,fixed"`
	Act        string              `db:"act,fixed"`
	Account    int64               `db:"account,fixed"`
	Operation  int64               `db:"operation,null,fixed"`
	Shop       int64               `db:"shop,null,fixed"` // of an action on a shop
	Note       string              `db:"note,fixed"`
	MerchantID string              `db:"merchant_id,fixed"`
	Token      []byte              `db:"token,null"` // entered by the operator, sealed; NULL after the end
	TokenKey   int64               `db:"token_key,null"`
	State      journal.IntentState `db:"state"`
	Result     string              `db:"result"`
	Detail     string              `db:"detail"`
	Ended      int64               `db:"ended,null"`
	MAC        []byte              `db:"mac,null,fixed"`
}

// An Outbox row is an outgoing event as it is published.
type Outbox struct {
	ID           int64  `db:"id,key"`
	Shop         int64  `db:"shop,null,fixed"` // NULL for a dead letter
	Operation    int64  `db:"operation,null,fixed"`
	Sequence     int64  `db:"sequence,fixed"` // of the shop; 0 for a dead letter
	Created      int64  `db:"created,fixed"`
	Event        []byte `db:"event,fixed"` // uuid
	Type         string `db:"type,fixed"`
	Key          []byte `db:"key,null,fixed"`
	Value        []byte `db:"value,fixed"`
	Headers      []byte `db:"headers,fixed"` // see package stored
	MAC          []byte `db:"mac,null,fixed"`
	PublishedAt  int64  `db:"published_at,null,fixed"` // this and the following are changed through [Published]
	Part         int64  `db:"part,fixed"`
	RecordOffset int64  `db:"record_offset,fixed"`
	Again        int64  `db:"again,null,fixed"`
}

// A Published row is the part of an [Outbox] row that changes: where the event was
// published last.
type Published struct {
	ID           int64 `db:"id,key"`
	PublishedAt  int64 `db:"published_at,null"` // NULL while the event waits to be published
	Part         int64 `db:"part"`
	RecordOffset int64 `db:"record_offset"` // -1 if it waits, or if the broker did not return it
	Again        int64 `db:"again,null"`    // row of [Pending] by which it was published again last
}

// A OutboxPending row is an event that waits to be published again.
type OutboxPending struct {
	Row    int64 `db:"row,key"`
	Outbox int64 `db:"outbox,fixed"`
	Since  int64 `db:"since,fixed"`
}

// An Event is an input event that was ingested.
type Event struct {
	ID           int64        `db:"id,key"`
	Identity     []byte       `db:"identity,null,fixed"` // digest of topic, source and id; only a statement changes it
	Shop         int64        `db:"shop,fixed"`
	Kind         journal.Kind `db:"kind,fixed"`
	Exit         int64        `db:"exit,fixed"`
	Operation    int64        `db:"operation,null,fixed"` // that the event began, began again or joined
	Topic        int64        `db:"topic,fixed"`
	Part         int64        `db:"part,fixed"`
	RecordOffset int64        `db:"record_offset,fixed"`
	EventTime    int64        `db:"event_time,fixed"`
	Received     int64        `db:"received,fixed"`
	Digest       []byte       `db:"digest,fixed"` // keyed, of the content
	Type         string       `db:"type,fixed"`
	Source       string       `db:"source,fixed"`
	EventID      string       `db:"event_id,fixed"`
	TraceParent  string       `db:"traceparent,fixed"`
	TraceState   string       `db:"tracestate,fixed"`
	UUID         []byte       `db:"uuid,null,fixed"` // of the operation that the event created; this and the following are NULL if it created none
	MAC          []byte       `db:"mac,null,fixed"`
	Generation   int64        `db:"generation,fixed"`
	KeyScope     int64        `db:"key_scope,null,fixed"` // owner of the key: the shop of an invitation, the account of an activation
	Subject      []byte       `db:"subject,null,fixed"`
	SubjectKey   int64        `db:"subject_key,null,fixed"`
}

// A DeadLetter is a record that could not be ingested.
type DeadLetter struct {
	ID           int64  `db:"id,key,auto"`
	Topic        int64  `db:"topic,fixed"`
	Part         int64  `db:"part,fixed"`
	RecordOffset int64  `db:"record_offset,fixed"`
	RecordTime   int64  `db:"record_time,null,fixed"`
	Received     int64  `db:"received,fixed"`
	Size         int64  `db:"size,fixed"`
	Outbox       int64  `db:"outbox,fixed"`    // the event that reports it
	Replayed     int64  `db:"replayed,null"`   // this and the following two are changed only by statements
	ReplayDue    int64  `db:"replay_due,null"` // when its record is to be replayed
	Replays      int64  `db:"replays"`         // how often it was replayed
	EventID      string `db:"event_id,fixed"`
	Reason       string `db:"reason,fixed"`
	Place        string `db:"place,fixed"`
	Digest       []byte `db:"digest,null,fixed"`
	Record       []byte `db:"record,null,fixed"` // sealed; NULL if it was not retained
	RecordKey    int64  `db:"record_key,null,fixed"`
	Account      string `db:"account,fixed"`
	Shop         string `db:"shop,fixed"`
	MessageKey   string `db:"message_key,fixed"`
}

// An Audit row is an operator action, or an action of the worker on an operator's
// behalf.
type Audit struct {
	ID      int64  `db:"id,key"` // without gaps
	At      int64  `db:"at,fixed"`
	Actor   string `db:"actor,fixed"`
	Act     string `db:"act,fixed"`
	Subject string `db:"subject,fixed"`
	Digest  []byte `db:"detail_hash,null,fixed"` // of the detail; NULL if there was none
	Hash    []byte `db:"hash,fixed"`             // of the row and of the hash before it
}

// An AuditDetail is the text of an audit row. It can be erased.
type AuditDetail struct {
	ID     int64  `db:"id,key"` // of the audit row
	Salt   []byte `db:"salt,fixed"`
	Detail string `db:"detail,fixed"`
	Shop   int64  `db:"shop,null,fixed"` // whose operation the audit row is about, else NULL
}

// An Announced row is a published event that a restored journal lacked.
type Announced struct {
	Event         []byte `db:"event,key"` // uuid
	Outbox        int64  `db:"outbox,fixed"`
	OperationUUID []byte `db:"operation_uuid,fixed"` // that the event names; empty for a dead letter
	Causation     string `db:"causation,fixed"`
	Version       int64  `db:"version,fixed"` // of the credentials that the event names, else 0
	Applied       bool   `db:"applied,fixed"` // changed only by a statement, not through this struct
}
