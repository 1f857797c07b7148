package journal

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/schemas"
)

var (
	// ErrCopy says that the journal is a copy, or its recovery has not ended: what was
	// done since the copy was made is not in it.
	ErrCopy = errors.New("journal: it is a copy of an earlier state; what was done since is not in it")
	// ErrNotRecovering says that the step is one of a recovery, and none was begun.
	ErrNotRecovering = errors.New("journal: no recovery was begun")
)

// A Recovery tells of a recovery that was begun.
type Recovery struct {
	Number  int       // how many there were, this one included
	Began   time.Time // when it was first begun
	Copied  time.Time // when the copy was made; zero where the journal does not know
	Resumed bool      // it was begun before and did not end
}

// An PublishedEvent is an event that was published and that a restored journal may
// not know.
type PublishedEvent struct {
	Event     uuid.UUID
	Type      string
	Shop      ShopKey // zero for a dead letter
	Operation uuid.UUID
	Causation string // id of the input event that it follows from
	Sequence  int64
	// Version is that of the credentials that the event names; 0 for none. Where it is
	// read back it is the journal's number of them: a store outside of the journal
	// numbers by itself.
	Version   int64
	Reference string // of those credentials; not read back
	At        time.Time
	Message   schemas.Message // as it was read, with Partition and Offset
}

// A RestoredOperation is an operation of a journal that is being recovered.
type RestoredOperation struct {
	ClaimedOperation                  // without Ref and lease
	Results          []PublishedEvent // that follow from it and were not looked at, by sequence
	// Versions are those of the credentials that the journal has of the shop, by
	// reference. Only looked up where a result names credentials.
	Versions map[string]int64
	// Newest is the reference in the last activation that was published of the shop,
	// by whichever operation. Only looked up with Versions.
	Newest string
	// Last: nothing more will be found; what is still open is in doubt.
	Last bool
	// Conflict: the restoration asked for was refused with ErrMerchantConflict.
	Conflict bool
}

// A Restoration is what an operation of a restored journal comes to. The zero
// Restoration leaves it as it is.
type Restoration struct {
	To      State // 0: as it is
	Reason  string
	Doubt   bool // ORed
	Unknown bool // one more attempt of which nobody knows
	Run     int  // at least; 0: as it is
	// Version is the journal's number of the credentials that its answer, which the
	// journal holds, was announced with.
	Version    int64
	MerchantID string      // the shop's, where none is known
	Credential *Credential // which the journal may have: its reference decides
	Invited    *InvitedUpdate
	Active     *ActiveUpdate
	Publish    []Draft
	Word       string // for people: what came of it; "" where nothing did
}

// A Restorer decides what an operation of a restored journal comes to. It must
// be pure, as a [Planner].
type Restorer func(RestoredOperation) Restoration

// An ImportResult counts what ImportPublished did.
type ImportResult struct {
	Known    int // the journal had the event
	Imported int
}

// An UnknownShop was activated, as was published, by an operation that the journal
// does not know.
type UnknownShop struct {
	ShopKey
	Reference string // of the credentials that were published last
}

// A RecoveryEnd is the last step of a recovery.
type RecoveryEnd struct {
	// Identity is the journal's from now on: a worker that still has the lost
	// one is a stranger to it. Check fits it; see SetKeysetCheck.
	Identity uuid.UUID
	Check    []byte
	// Asked ends what people had asked for and still waits; false leaves it. Nil
	// leaves all.
	Asked func(Intent) (IntentEnd, bool)
	Audit AuditEntry
}
