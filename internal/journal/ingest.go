package journal

import (
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/schemas"
)

// A ShopKey names a shop: everywhere a shop is (account, shop id), compared
// byte for byte.
type ShopKey struct{ Account, Shop string }

// A Position is where a partition's next unread record lies.
type Position struct {
	Topic     string
	Partition int
	Next      int64
	Behind    *BatchMark // the batch that the position lies behind or in; nil when unknown
}

// A BatchMark identifies a record batch in a partition's log. An offset does not:
// a log that lost its end and was filled again has other records at the same
// offsets.
type BatchMark struct {
	Last  int64  // the offset of its last record
	Epoch int32  // of the leader that appended it; -1 when unknown
	CRC   uint32 // the checksum that Kafka keeps of its records
}

// An Event is an accepted input event, on its way into the inbox.
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
	Sealed       []byte                     // the address or the code; see keyset for what binds it
	ReusedLetter func() (DeadLetter, error) // makes the dead letter for id_reused; called only then
}

// A DeadLetter is a record that cannot be taken.
type DeadLetter struct {
	Offset  int64
	EventID string // "" where none could be read
	Reason  string // closed set: schemas
	Where   string
	Time    time.Time // the record's
	Size    int
	Digest  []byte // keyed, primary look-up key
	Sealed  []byte // key, headers and value; nil above 64 KiB, and past the batch's LetterBounds
	// Shop is whose event it is, as far as that could be read: the account, or
	// both, may be empty. Key is the record's where it is fit to be shown, else
	// empty; by contract it is the shop id.
	Shop     ShopKey
	Key      string
	Announce Draft // the event that tells of it; its sequence is not used
}

// A Batch is what a consumer read from one partition: everything in [From, Next).
type Batch struct {
	Topic       string
	Partition   int
	From, Next  int64
	Behind      *BatchMark   // of Next, as in Position
	Events      []Event      // by rising offset
	DeadLetters []DeadLetter // by rising offset
	// Deselected shops chose another provider: after the events are taken their
	// invitations that were never sent are cancelled (Superseded, reason
	// "deselected"), and they are not reminded of any. Nothing else is kept of those
	// records.
	Deselected []ShopKey
	// Keep bounds how many dead letters of the journal keep their record.
	Keep LetterBounds
}

// LetterBounds bound the dead letters that keep their record, by number and by
// bytes of the sealed records; 0 is no bound. Past them only position, reason and
// digest are kept, so that a flood of records that cannot be used does not fill
// the disk.
type LetterBounds struct {
	Number, Bytes int64
}

// Fits tells whether a record may be kept beside what is kept already, and if so
// adds it to that.
func (b LetterBounds) Fits(kept *LetterBounds, sealed []byte) bool {
	bytes := int64(len(sealed))
	if b.Number > 0 && kept.Number >= b.Number || b.Bytes > 0 && kept.Bytes+bytes > b.Bytes {
		return false
	}
	kept.Number++
	kept.Bytes += bytes
	return true
}

// Ingested tells where the events of a batch went; the rest of the batch's
// records went where the batch said.
type Ingested struct {
	Accepted, Repeated, Reused int
	// Unkept dead letters lost their record to the batch's bounds.
	Unkept int
}

// ShopView is what the planner sees of a shop, read in the transaction that
// will carry out its plan.
type ShopView struct {
	Invited *InvitedView // the last invitation that was, or may have been, sent
	Active  *ActiveView  // nil until the shop is activated, and while it is disconnected
	// Disconnected is when the shop's credentials were disconnected; zero if they were
	// not, or if it was activated since.
	Disconnected time.Time
	// Open are the shop's open operations, in the order in which their runs
	// began: all but queued activations, of which the first 4.
	Open []OperationView
	// Same is the operation that owns the event's key: for an invitation the
	// shop's newest generation with this address, for an activation the
	// account's operation with this code, whichever shop's it is.
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
	EventTime    time.Time // the time of the event that asked for it
	SameAddress  bool      // as the event at hand
	InvitationID string
}

// ActiveView is the shop's current activation.
type ActiveView struct {
	At         time.Time
	MerchantID string
	Version    int64
	Operation  uuid.UUID
	Event      uuid.UUID // the `activated` event that said so; uuid.Nil before it is published
}

// OperationView is an operation as the planner sees it.
type OperationView struct {
	ID          int64
	UUID        uuid.UUID
	Kind        Kind
	Shop        ShopKey
	State       State
	Reason      string // of one that waits, is in Attention or has ended
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

// A Plan is what an event leads to. The zero Plan keeps the event and does
// nothing more.
type Plan struct {
	New          *NewOperation
	Join         int64   // the event belongs to this open operation
	Rerun        int64   // this ended operation starts again with the next run
	Cancel       []int64 // these become Superseded, reason CancelReason; only Queued, Planned, Waiting ones may be named
	CancelReason string
	// Behind is an open operation that is Planned and steps behind all that is
	// queued in its shop's lane, the event's own included; 0: none.
	Behind    int64
	Publish   []Draft   // events that need no operation; one whose id exists is sent once more, unchanged
	Republish uuid.UUID // this event is sent once more, its bytes unchanged
}

// NewOperation is an operation to insert. It becomes Planned where its shop's
// lane is free, else Queued.
type NewOperation struct {
	UUID       uuid.UUID
	Generation int
	// Attention inserts it as a matter for a person, with this reason: it
	// never runs, never holds the lane and does not own its key.
	Attention string
}

// A Draft is an outgoing event whose bytes are made when its sequence is
// known, inside the transaction that writes it; from then on they are frozen.
type Draft struct {
	ID     uuid.UUID
	Type   string
	Freeze func(sequence int64) (schemas.Message, error) // must be quick and pure
}

// A Planner decides what an accepted event leads to. It must be pure: a
// transaction that is run again calls it again.
type Planner func(Event, ShopView) Plan
