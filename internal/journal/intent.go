package journal

import (
	"errors"
	"time"

	"github.com/google/uuid"
)

// ErrTooManyIntents reports that [MaxWaitingIntents] operator actions wait for execution.
var ErrTooManyIntents = errors.New("journal: too many operator actions wait for a worker")

// ErrIntentExists reports that an operator action with this id exists.
var ErrIntentExists = errors.New("journal: an operator action with this id exists already")

// MaxWaitingIntents bounds how many operator actions can wait at a time.
const MaxWaitingIntents = 1000

// IntentState is the state of an operator action.
type IntentState uint8

// The states of operator actions. Their numbers are stored.
const (
	IntentWaiting   IntentState = 1 // for a worker
	IntentPerformed IntentState = 2
	IntentRefused   IntentState = 3 // nothing was changed
)

func (s IntentState) String() string {
	switch s {
	case IntentWaiting:
		return "waiting"
	case IntentPerformed:
		return "performed"
	case IntentRefused:
		return "refused"
	}
	return "unknown_state"
}

// An Intent is an operator action. A command appends it, also beside a worker, and the
// worker executes or refuses it once. Its end and its effect are one commit.
type Intent struct {
	ID        int64     // set when it is read; newer ones are higher
	UUID      uuid.UUID // made by the requester; Sealed is bound to it
	At        time.Time // zero is now
	Actor     string    // the requester
	Act       string    // from the caller's closed set
	Account   string    // of the circuit breaker or of the operation; may be empty with Operation
	Operation uuid.UUID // uuid.Nil for an action on an account or a shop
	Shop      string    // the shop's id, only for an action on a shop
	Note      string    // the operator's reason for it; never a secret

	// The operator's input. Sealed is the token; it is erased when the action ends.
	MerchantID string
	Sealed     []byte
	// MAC is made by the requester, over all fields above except ID and At.
	MAC []byte

	State  IntentState
	Result string // from the caller's closed set; "" while the action waits
	Detail string // describes the result
	Ended  time.Time
}

// Authentic lists the values that the MAC of the action covers.
func (i Intent) Authentic() [][]byte {
	return [][]byte{i.UUID[:], []byte(i.Actor), []byte(i.Act), []byte(i.Account), i.Operation[:], []byte(i.Note), []byte(i.MerchantID), i.Sealed, []byte(i.Shop)}
}

// A PendingIntent is a waiting operator action with its subject.
type PendingIntent struct {
	Intent
	Target *Target // nil for an action on an account or a shop
	ShopID int64   // of an action on a shop
}

// A Target is the operation of an action. Nobody has claimed it, but its Ref still fences
// a transition: after any change of the operation the transition is [ErrStale].
type Target struct {
	ClaimedOperation
	// Current are the shop's current credentials, nil if it has none. CurrentVerified
	// reports whether they are verified.
	Current         *Credential
	CurrentVerified bool
}

// An IntentEnd ends a waiting operator action, once. [ErrStale]: it has ended.
type IntentEnd struct {
	ID      int64
	State   IntentState // IntentPerformed or IntentRefused
	Result  string
	Detail  string
	Audit   AuditEntry
	Circuit *Circuit // replaces the circuit breaker of the action's account
	// Reissue publishes the newest result of the action's operation again, with the same
	// bytes. [ErrNotFound]: there is none, and the action still waits.
	Reissue bool
}

// An IntentFilter selects operator actions to list.
type IntentFilter struct {
	UUID      uuid.UUID // only this one
	Operation uuid.UUID // only of this operation
	Account   string    // only of this account's circuit breaker
	Shop      ShopKey   // only of this shop
	Before    int64     // ids below, for paging; 0 from the newest
	Limit     int       // 1 to 1000
}
