package journal

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/schemas"
)

var (
	// ErrCopy reports that the journal is a copy, or that its recovery has not ended: it
	// lacks all changes since the copy was made.
	ErrCopy = errors.New("journal: it is a copy of an earlier state; what was done since is not in it")
	// ErrNotRecovering reports that a step of a recovery was called, and no recovery was
	// begun.
	ErrNotRecovering = errors.New("journal: no recovery was begun")
)

// A Recovery describes a recovery that was begun.
type Recovery struct {
	Number  int       // how many recoveries there were, including this one
	Began   time.Time // when it was first begun
	Copied  time.Time // when the copy was made; zero if unknown
	Resumed bool      // it was begun before and did not end
}

// A PublishedEvent is a published event that a restored journal may lack.
type PublishedEvent struct {
	Event     uuid.UUID
	Type      string
	Shop      ShopKey // zero for a dead letter
	Operation uuid.UUID
	Causation string // id of the input event that it follows from
	Sequence  int64
	// Version is that of the credentials that the event names; 0 for none. When it is read
	// back it is the journal's own number of them, because a store outside of the journal
	// has numbers of its own.
	Version   int64
	Reference string // of those credentials; not read back
	At        time.Time
	Message   schemas.Message // as it was read, with Partition and Offset
}

// A RestoredOperation is an operation of a journal that is being recovered.
type RestoredOperation struct {
	ClaimedOperation                  // without Ref and lease
	Results          []PublishedEvent // results that follow from it and that the restorer has not seen, by sequence
	// Versions are the versions of the shop's credentials in the journal, by reference.
	// They are queried only if a result names credentials.
	Versions map[string]int64
	// Newest is the reference in the last published activation of the shop, of whichever
	// operation. It is queried only with Versions.
	Newest string
	// Last: no further result follows; an open operation is in doubt.
	Last bool
	// Conflict: the previous Restoration was refused with ErrMerchantConflict.
	Conflict bool
}

// A Restoration is the restorer's decision about an operation of a restored journal. The
// zero Restoration changes nothing.
type Restoration struct {
	To      State // 0: unchanged
	Reason  string
	Doubt   bool // ORed with the operation's
	Unknown bool // one more attempt with an unknown outcome
	Run     int  // at least; 0: unchanged
	// Version is the journal's number of the credentials that were announced for the
	// operation's stored response.
	Version    int64
	MerchantID string      // the shop's, if none is known
	Credential *Credential // the journal may have it: its reference decides
	Invited    *InvitedUpdate
	Active     *ActiveUpdate
	Publish    []Draft
	Word       string // the outcome, for display; "" if there is none
}

// A Restorer decides about an operation of a restored journal. It must be pure, as a
// [Planner].
type Restorer func(RestoredOperation) Restoration

// An ImportResult counts what ImportPublished did.
type ImportResult struct {
	Known    int // the journal had the event
	Imported int
}

// An UnknownShop has a published activation by an operation that the journal does not
// have.
type UnknownShop struct {
	ShopKey
	Reference string // of the credentials that were published last
}

// A RecoveryEnd is the last step of a recovery.
type RecoveryEnd struct {
	// Identity is the journal's new identity. A worker that still has the lost journal's
	// is refused. Check is the keyset check for it; see SetKeysetCheck.
	Identity uuid.UUID
	Check    []byte
	// Asked returns the end of an operator action that still waits; false leaves it
	// waiting. Nil leaves all of them.
	Asked func(Intent) (IntentEnd, bool)
	Audit AuditEntry
}
