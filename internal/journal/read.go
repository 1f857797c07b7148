package journal

import (
	"time"

	"github.com/google/uuid"
)

// A CircuitState is the state of an account's circuit breaker.
type CircuitState string

// The circuit breaker's states.
const (
	CircuitActive     CircuitState = "active"
	CircuitThrottled  CircuitState = "throttled"   // until: after a 429
	CircuitBackingOff CircuitState = "backing_off" // until: after server faults, or if the API is unreachable
	CircuitPaused     CircuitState = "paused"      // for a reason
)

// A Circuit is one account's circuit breaker. While it is not active, operations wait and
// none fails.
type Circuit struct {
	State  CircuitState
	Reason string    // closed set
	Until  time.Time // of throttled and backing off
	Count  int       // consecutive faults
	Since  time.Time
}

// An Account is a partner account in the journal.
type Account struct {
	Name      string
	PartnerID string
	Circuit   Circuit
}

// Stats are for metrics and health. Ended operations are not counted.
type Stats struct {
	Operations map[StatKey]int64 // open ones and those in attention
	Attention  map[string]int64  // by reason
	// OldestDue is since when an operation has been due, for each account and kind; zero
	// if none is.
	OldestDue map[DueKey]time.Time
	// OldestReceived is since when a response has waited to be stored; zero if none does.
	OldestReceived time.Time
	Outbox         int64
	OldestOut      time.Time
	DeadLetters    int64
	Events         int64 // from the oldest to the newest that is stored; some between them may have been pruned
	Bytes          int64 // of the database
}

// StatKey is what operations are counted by.
type StatKey struct {
	Account string
	Kind    Kind
	State   State
}

// DueKey is what due operations are distinguished by.
type DueKey struct {
	Account string
	Kind    Kind
}

// An OperationFilter chooses operations to list.
type OperationFilter struct {
	Account  string
	Shop     string
	Kind     Kind  // 0 is all
	State    State // 0 is all
	OpenOnly bool  // neither Done nor Superseded
	Before   int64 // ids below, for paging; 0 from the newest
	Limit    int   // 1 to 1000
}

// An OperationRecord is an operation for display.
type OperationRecord struct {
	ID         int64
	UUID       uuid.UUID
	Kind       Kind
	Shop       ShopKey
	State      State
	Reason     string
	Run        int
	Generation int
	Attempts   int
	Doubt      bool
	Created    time.Time
	Changed    time.Time
	Due        time.Time
	Owner      string
	Event      string // id of the event that began the run
}

// An AttemptRecord is an attempt for display.
type AttemptRecord struct {
	ID         AttemptID
	Number     int
	Flagged    bool
	Probe      bool
	Started    time.Time
	End        *AttemptEnd // nil while open
	HasReceipt bool
}

// A KeptResponse is a stored, sealed response, for display.
type KeptResponse struct {
	StoredReceipt
	Number int // of its attempt; 0 if an operator entered it
}

// An OperationDetail is an operation with its attempts and results.
type OperationDetail struct {
	OperationRecord
	Tries  []AttemptRecord
	Events []EventRecord
	Output []OutputRecord
}

// An EventRecord is an inbox row for display.
type EventRecord struct {
	Type, Source, ID string
	Time, Received   time.Time
	Topic            string
	Partition        int
	Offset           int64
	Operation        uuid.UUID // uuid.Nil if it led to none
	Exit             string    // planned, joined, rerun, answered, kept
}

// An OutputRecord is an outgoing event for display.
type OutputRecord struct {
	Event     uuid.UUID
	Type      string
	Sequence  int64
	Created   time.Time
	Published bool
	Partition int
	Offset    int64
	Value     []byte // the event's data or structured form; contains no secret
}

// A ShopHistory is everything that the journal has of a shop, the oldest first.
type ShopHistory struct {
	Shop    ShopKey
	Invited *InvitedView
	Active  *ActiveView
	// Disconnected is when the shop's credentials were disconnected; zero if they were
	// not, or if it was activated since.
	Disconnected time.Time

	Events     []EventRecord
	Operations []OperationDetail
	Output     []OutputRecord
}

// A ShopStage is how far a shop has come.
type ShopStage uint8

// The stages of shops, for a filter.
const (
	AnyShop          ShopStage = iota
	ActiveShop                 // it has current credentials
	InvitedShop                // it was invited, and neither is active nor was disconnected
	OtherShop                  // none of these: its first operation has not ended well
	DisconnectedShop           // its credentials were disconnected, and it was not activated since
)

// A ShopFilter chooses shops to list.
type ShopFilter struct {
	Account  string    // "" is all
	Stage    ShopStage // AnyShop is all
	Merchant string    // "" is all
	// State chooses active shops by what is known of their credentials; 0 is all.
	State CredentialState
	// Since chooses shops that were invited, activated or disconnected last then or
	// later; zero is all.
	Since  time.Time
	Before int64 // ids below, for paging; 0 from the newest
	Limit  int   // 1 to 1000
}

// A ShopRecord is a shop for display.
type ShopRecord struct {
	ID        int64
	Shop      ShopKey
	InvitedAt time.Time // zero if it was not
	ActiveAt  time.Time // zero if it is not active; the next are for active shops
	Merchant  string
	Version   int64
	Reference string
	State     CredentialState // of its credentials

	DisconnectedAt time.Time // zero unless its credentials are disconnected
}

// A DeadLetterFilter chooses dead letters to list. A field that is zero chooses all.
type DeadLetterFilter struct {
	ID     int64  // this one only
	Reason string // of schemas
	Topic  string
	// Shop chooses those whose event names the shop or, if the event could not be
	// read, whose key does. The account is compared if the dead letter has one.
	Shop         ShopKey
	Since, Until time.Time // received at Since or later, and before Until
	Open         bool      // only those that were not replayed successfully
	NoRecords    bool      // leave Sealed out: all records together can be as large as --dead-letter-size
	Before       int64     // ids below, for paging; 0 from the newest
	Limit        int       // 1 to 1000
}

// A DeadLetterRecord is a dead letter for display.
type DeadLetterRecord struct {
	ID        int64
	Topic     string
	Partition int
	DeadLetter
	Received  time.Time
	Kept      bool      // the journal has its record
	Replays   int       // how often it was replayed
	ReplayDue time.Time // when it is to be replayed; zero unless an operator requested it
	Replayed  time.Time // when it was replayed successfully; zero before
}

// A Due is when the next work of an account, kind and stage is due.
type Due struct {
	Account string
	Kind    Kind
	Stage   Stage
	At      time.Time
}
