package journal

import (
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/schemas"
)

// A ShopKey names a shop: an account and a shop id, which are compared byte for byte.
type ShopKey struct{ Account, Shop string }

// A Position is the offset of a partition's next unread record.
type Position struct {
	Topic     string
	Partition int
	Next      int64
	Behind    *BatchMark // the batch that ends at the position or contains it; nil if unknown
}

// A BatchMark identifies a record batch in a partition's log. An offset does not: after a
// log was truncated and filled again, other records have the same offsets.
type BatchMark struct {
	Last  int64  // the offset of its last record
	Epoch int32  // of the leader that appended it; -1 if unknown
	CRC   uint32 // Kafka's checksum of its records
}

// An Event is an accepted input event, to be inserted into the inbox.
type Event struct {
	Identity [32]byte // of (topic, source, id): schemas.Identity
	// Digests are the keyed digests of the content under every look-up key,
	// the primary's first. Only the first is stored.
	Digests      [][]byte
	Type         string
	Source, ID   string
	Time         time.Time
	Offset       int64
	TraceParent  string
	TraceState   string
	Shop         ShopKey
	Kind         Kind
	SubjectMACs  [][]byte                   // of the normalised address or code, as Digests
	Sealed       []byte                     // the address or the code; package keyset describes its associated data
	ReusedLetter func() (DeadLetter, error) // makes the dead letter for id_reused; called only in that case
}

// A DeadLetter is a record that cannot be used.
type DeadLetter struct {
	Offset  int64
	EventID string // "" if it could not be read
	Reason  string // closed set: schemas
	Where   string
	Time    time.Time // the record's
	Size    int
	Digest  []byte // keyed, primary look-up key
	Sealed  []byte // key, headers and value; nil above 64 KiB, and past the batch's LetterBounds
	// Shop is the shop of the event. If it could not be read, the account is empty, or
	// both are. Key is the record's key, empty if it must not be displayed; by contract it
	// is the shop id.
	Shop     ShopKey
	Key      string
	Announce Draft // the event that reports it; its sequence is not used
}

// A Batch is the records that a consumer read from one partition, with offsets in [From,
// Next).
type Batch struct {
	Topic       string
	Partition   int
	From, Next  int64
	Behind      *BatchMark   // of Next, as in Position
	Events      []Event      // by rising offset
	DeadLetters []DeadLetter // by rising offset
	// Deselected are the shops that chose another provider. After the events are ingested,
	// their invitations that were not sent are superseded (reason "deselected"), and their
	// reminders end. The records themselves are not stored.
	Deselected []ShopKey
	// Keep bounds how many dead letters of the journal retain their record.
	Keep LetterBounds
}

// LetterBounds bound the dead letters that retain their record, by number and by bytes of
// the sealed records; 0 is no bound. Beyond the bounds only position, reason and digest
// are stored, so that many unusable records do not fill the disk.
type LetterBounds struct {
	Number, Bytes int64
}

// Fits reports whether a record fits beside those that are retained, and if so adds it to
// kept.
func (b LetterBounds) Fits(kept *LetterBounds, sealed []byte) bool {
	bytes := int64(len(sealed))
	if b.Number > 0 && kept.Number >= b.Number || b.Bytes > 0 && kept.Bytes+bytes > b.Bytes {
		return false
	}
	kept.Number++
	kept.Bytes += bytes
	return true
}

// Ingested counts what the events of a batch led to.
type Ingested struct {
	Accepted, Repeated, Reused int
	Known                      []int // the indexes of the repeated and reused events, ascending
	// Unkept counts the dead letters without their record, because of the batch's bounds.
	Unkept int
}

// A ShopView is a shop as the planner sees it, read in the transaction that carries out
// its plan.
type ShopView struct {
	Invited *InvitedView // the last invitation that was, or may have been, sent
	Active  *ActiveView  // nil until the shop is activated, and while it is disconnected
	// Disconnected is when the shop's credentials were disconnected; zero if they were
	// not, or if it was activated since.
	Disconnected time.Time
	// Open are the shop's open operations, in the order in which their runs began. Of
	// queued activations it has only the first 4.
	Open []OperationView
	// Same is the operation that owns the event's key. For an invitation it is the shop's
	// newest generation with this address. For an activation it is the account's operation
	// with this code, of whichever shop.
	Same *OperationView
}

// A Preview is what Ingest would see of an event.
type Preview struct {
	Known  bool     // it is in the inbox
	Reused bool     // another event with its identity is in the inbox
	View   ShopView // of an event that is neither
}

// InvitedView is the shop's last invitation.
type InvitedView struct {
	At           time.Time // when it was sent
	EventTime    time.Time // the time of its event
	SameAddress  bool      // as the present event
	InvitationID string
}

// ActiveView is the shop's current activation.
type ActiveView struct {
	At         time.Time
	MerchantID string
	Version    int64
	Operation  uuid.UUID
	Event      uuid.UUID // the `activated` event; uuid.Nil before it is published
}

// OperationView is an operation as the planner sees it.
type OperationView struct {
	ID          int64
	UUID        uuid.UUID
	Kind        Kind
	Shop        ShopKey
	State       State
	Reason      string // of a waiting or ended operation, or one in Attention
	Generation  int
	Run         int
	Attempts    int  // requests started
	Doubt       bool // any of them may have been executed
	SameSubject bool // its address or code is the event's
	// Changed is when it entered its state; zero is long ago.
	Changed time.Time
	// EventTime is the time of the event that began its run.
	EventTime time.Time
}

// A Plan is what an event leads to. The zero Plan stores the event and does nothing else.
type Plan struct {
	New          *NewOperation
	Join         int64   // the event belongs to this open operation
	Rerun        int64   // this ended operation begins its next run
	Cancel       []int64 // these become Superseded with CancelReason; each must be Queued, Planned or Waiting
	CancelReason string
	// Behind is an open operation in state Planned that steps behind all queued operations
	// of its shop's lane, the event's own included; 0: none.
	Behind    int64
	Publish   []Draft   // events without an operation; one whose id exists is published again, unchanged
	Republish uuid.UUID // this event is published again, unchanged
}

// NewOperation is an operation to insert. It becomes Planned if its shop's lane is free,
// else Queued.
type NewOperation struct {
	UUID       uuid.UUID
	Generation int
	// Attention inserts it in state Attention, with this reason: it never runs, never
	// holds the lane and does not own its key.
	Attention string
}

// A Draft is an outgoing event. It is encoded when its sequence is known, in the
// transaction that inserts it. Its bytes never change after that.
type Draft struct {
	ID     uuid.UUID
	Type   string
	Freeze func(sequence int64) (schemas.Message, error) // must be quick and pure
}

// A Planner decides what an accepted event leads to. It must be pure, because a repeated
// transaction calls it again.
type Planner func(Event, ShopView) Plan
