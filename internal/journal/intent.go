package journal

import (
	"errors"
	"time"

	"github.com/google/uuid"
)

// ErrTooManyIntents says that [MaxWaitingIntents] intents wait to be performed.
var ErrTooManyIntents = errors.New("journal: too many intents wait for a worker")

// ErrIntentExists reports that an intent with this id was appended before.
var ErrIntentExists = errors.New("journal: an intent with this id exists already")

// MaxWaitingIntents bounds how many intents can wait at a time.
const MaxWaitingIntents = 1000

// IntentState is where an intent stands.
type IntentState uint8

// The states of intents. Their numbers are stored.
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

// An Intent is an act that a person asks for. It is written beside the worker,
// which performs or refuses it once: its end is committed together with its
// effect.
type Intent struct {
	ID        int64     // set when it is read; newer ones are higher
	UUID      uuid.UUID // made by who asks; Sealed is bound to it
	At        time.Time // zero is now
	Actor     string    // who asks
	Act       string    // closed set of the caller's
	Account   string    // whose circuit breaker, or whose operation; may be left out with Operation
	Operation uuid.UUID // uuid.Nil for an act on the account or on a shop
	Shop      string    // only for an act on a shop: its id
	Note      string    // why, in the person's words; never a secret

	// What is entered by hand. Sealed is the token; it is erased when the intent ends.
	MerchantID string
	Sealed     []byte
	// MAC is made by who asks, over all of the above but ID and At.
	MAC []byte

	State  IntentState
	Result string // closed set of the caller's; "" while it waits
	Detail string // the same in words
	Ended  time.Time
}

// Authentic lists what the MAC of the intent is made of.
func (i Intent) Authentic() [][]byte {
	return [][]byte{i.UUID[:], []byte(i.Actor), []byte(i.Act), []byte(i.Account), i.Operation[:], []byte(i.Note), []byte(i.MerchantID), i.Sealed, []byte(i.Shop)}
}

// A PendingIntent is a waiting intent with what it is about.
type PendingIntent struct {
	Intent
	Target *Target // nil for an act on the account or on a shop
	ShopID int64   // of an act on a shop
}

// A Target is an operation as it stands, held by nobody. Its Ref fences a
// transition all the same: whatever has happened to the operation since makes
// it [ErrStale].
type Target struct {
	ClaimedOperation
	// Current are the shop's current credentials, nil while it has none, and
	// CurrentVerified tells whether they were found to work.
	Current         *Credential
	CurrentVerified bool
}

// An IntentEnd ends a waiting intent, once: [ErrStale] when it has ended.
type IntentEnd struct {
	ID      int64
	State   IntentState // IntentPerformed or IntentRefused
	Result  string
	Detail  string
	Audit   AuditEntry
	Circuit *Circuit // replaces the circuit breaker of the intent's account
	// Reissue queues the newest result of the intent's operation once more, its bytes
	// unchanged. [ErrNotFound]: there is none, and the intent still waits.
	Reissue bool
}

// An IntentFilter chooses intents to list.
type IntentFilter struct {
	UUID      uuid.UUID // this one only
	Operation uuid.UUID // of this operation only
	Account   string    // about this account's circuit breaker only
	Shop      ShopKey   // about this shop only
	Before    int64     // ids below, for paging; 0 from the newest
	Limit     int       // 1 to 1000
}
