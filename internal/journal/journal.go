package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// What can be wrong. Callers use errors.Is.
var (
	// ErrStale: the claim is another's, or the state is not what the caller thought.
	ErrStale = errors.New("journal: the operation is not the caller's any more")
	// ErrPosition: the batch does not begin where the journal stands.
	ErrPosition = errors.New("journal: the batch does not begin at the journal's position")
	// ErrMerchantConflict: the merchant id is another shop's, or not this shop's.
	ErrMerchantConflict = errors.New("journal: the merchant id conflicts with what is known")
	// ErrVersionTaken: the credential's version exists.
	ErrVersionTaken = errors.New("journal: the credential's version exists")
	// ErrOlderVersion: the shop's current credential is a newer one.
	ErrOlderVersion = errors.New("journal: the shop's current credential is newer")
	// ErrPartnerDiffers: the account is known with another partner id.
	ErrPartnerDiffers = errors.New("journal: the account is known with another partner id")
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("journal: not found")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal: closed")
	// ErrHeld: another worker holds the journal.
	ErrHeld = errors.New("journal: held by another worker")
	// ErrNewer: the journal was written by a newer version.
	ErrNewer = errors.New("journal: written by a newer version of this program")
	// ErrReadOnly: the journal was opened beside a worker, to be read.
	ErrReadOnly = errors.New("journal: opened to be read only")
	// ErrNotDurable: the database does not promise durability.
	ErrNotDurable = errors.New("journal: the database is not durable")
)

// A NoPermitError says that a ledger is used up.
type NoPermitError struct {
	Ledger string
	Next   time.Time // when the next permit comes back, as far as is known
}

func (e *NoPermitError) Error() string {
	return fmt.Sprintf("journal: no permit left in ledger %q", e.Ledger)
}

// A Journal is the durable store of the worker. It is composed of roles. Callers
// declare the few methods that they use as interfaces of their own; this interface is
// what a database must offer and what the conformance suite tests.
//
// A method that changes something returns after the commit, or with an error and
// without the change. If the database became unreachable during the commit, the outcome
// is unknown and the error wraps a context or driver error. Each step can be repeated
// safely, because it compares claims, states and positions. Methods are safe for
// concurrent use. Changes that are requested at the same time are committed together.
type Journal interface {
	// Identity is the journal's id. Only a recovery changes it.
	Identity() uuid.UUID
	// Origin is the identity with which the journal began. A recovery does not
	// change it, so that seals can name it.
	Origin() uuid.UUID
	// Close completes the requests that were accepted and closes the database. Every
	// later call fails with ErrClosed.
	Close() error

	Keys
	Accounts
	Intake
	Work
	Reviews
	Actions
	Outbox
	RelayLeases
	Upkeep
	RateLimitHistory
	Recoveries
	Reports
	Reads
}

// Keys are the journal's records about the caller's keyset.
type Keys interface {
	// Authenticate sets what makes the MACs of outbox rows. Rows that were inserted
	// before have none.
	Authenticate(a Authenticator)
	// KeysetCheck returns the bytes that SetKeysetCheck stored, nil if there are none.
	// The caller uses them to find out whether its keys belong to this journal.
	// SetKeysetCheck stores them only if there are none: of two processes that start
	// at the same moment, both find the bytes of one. Only a recovery replaces them
	// (see [RecoveryEnd]). Each call of SetKeysetCheck writes to the disk.
	KeysetCheck(ctx context.Context) ([]byte, error)
	SetKeysetCheck(ctx context.Context, check []byte) error
	// RegisterKeys records the keys with which this process is going to write rows.
	// Have are all of its keys. Recorded keys that are not among them are retired, so
	// the caller first checks that no row needs them (see KeyRows). Afterwards Ingest
	// fails with ErrKeyMissing if another process records a key that is not among
	// them, and with ErrKeyRetired if another process has retired a primary key.
	RegisterKeys(ctx context.Context, primary, have []Key) error
	// UsedKeys lists the recorded keys. KeyRows counts the rows that need each of
	// some keys; it reads whole tables.
	UsedKeys(ctx context.Context) ([]Key, error)
	KeyRows(ctx context.Context, keys []Key) ([]KeyRows, error)
}

// Accounts are the partner accounts and their gates.
type Accounts interface {
	// EnsureAccount inserts an account. Its name and partner id never change.
	// ErrPartnerDiffers: it exists with another partner id.
	EnsureAccount(ctx context.Context, name, partnerID string) error
	Accounts(ctx context.Context) ([]Account, error)
	// SetGate replaces a gate if its state and reason are still those of was; nil
	// replaces any. Otherwise it is ErrStale: an operator or another replica has
	// changed the gate. The account is closed from a gate that is not open to the
	// next open one: see ClaimedOperation.GateClosed.
	SetGate(ctx context.Context, account string, g Gate, was *Gate) error
	// ReserveTrial postpones the end of a limited or resting gate, so that only the
	// caller makes the trial call: for all others the gate is closed until then.
	// ErrStale: the gate's state or reason are not those of was, or its end is still
	// to come and not that of was (within 10 ms), because another replica makes the
	// trial. With an until that is not in the future, who has reserved the trial
	// cancels it. ErrNotFound: no such account.
	ReserveTrial(ctx context.Context, account string, was Gate, until time.Time) error
}

// Intake takes records from Kafka.
type Intake interface {
	// Positions lists the positions of all partitions that have one.
	Positions(ctx context.Context) ([]Position, error)
	// InitPositions sets the positions of partitions that have none.
	InitPositions(ctx context.Context, ps []Position) error
	// Ingest commits a batch in one transaction: inbox, plans, dead letters,
	// cancellations and the position. ErrPosition: the journal's position is another.
	Ingest(ctx context.Context, b Batch) (Ingested, error)
}

// Work is the life of operations: claims, attempts, responses, transitions.
type Work interface {
	// Changed is signalled (without blocking, coalesced) when an operation may have
	// become due. Due lists, for each account, kind and stage with claimable work,
	// when the first operation is due.
	Changed() <-chan struct{}
	Due(ctx context.Context) ([]Due, error)
	// Claim claims due operations. In stage Call it fails with ErrFull if only the
	// reserve of the disk is left, which is for the ends of attempts.
	Claim(ctx context.Context, r ClaimRequest) ([]ClaimedOperation, error)
	// ReleaseExpiredLeases ends leases that have expired: Claimed becomes Planned
	// again, Sending becomes Unknown (due at once, in doubt). If only one process can
	// open the journal, opening it ends all leases of earlier processes.
	ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error)

	// AvailablePermits returns how many permits of a rate limit are left and, if none
	// is, when the next one is available.
	AvailablePermits(ctx context.Context, p Permit) (n int, next time.Time, err error)
	// BeginAttempt moves Claimed to Sending and takes all permits, or none. ErrStale,
	// ErrFull, *NoPermitError, *AddressCoolDownError: the operation stays Claimed. Of
	// several attempts to invite one address at the same moment, also by several
	// replicas, one begins.
	BeginAttempt(ctx context.Context, s AttemptStart) (AttemptID, error)
	BeginCheck(ctx context.Context, c Check) (AttemptID, error)
	// EndAttempt ends a check, or an attempt whose operation has changed meanwhile
	// (its Apply is ErrStale), so that its permits return. The first end of an
	// attempt holds.
	EndAttempt(ctx context.Context, id AttemptID, end AttemptEnd) error
	// SaveResponse saves a receipt in any state of its operation. Sending of the same
	// claim becomes Received and stays the caller's. Any other state without an answer
	// (Queued to Sending, Unknown, and Attention except for reasons that rest on a
	// receipt) becomes Received without an owner: its holder is fenced off, so that
	// nothing more is sent. The operation is due when all of its other attempts were
	// answered or cannot be on their way any more (the slack of their permits after
	// their end, or after their deadline if there is no end), and holds its lane until
	// then. In all other states the receipt is kept beside the operation. The operation
	// is then due for a comparison once it has ended or is in attention.
	// SaveResponse returns the state after it, and whether the operation is still the
	// caller's.
	SaveResponse(ctx context.Context, r Receipt) (s State, mine bool, err error)
	// SaveResponseAndBeginCheck is SaveResponse followed by BeginCheck in the same
	// commit. The check is of the operation's account. It does not begin, and its id is
	// 0, if the operation is not the caller's or a permit is missing.
	SaveResponseAndBeginCheck(ctx context.Context, r Receipt, c Check) (s State, mine bool, check AttemptID, err error)
	// Apply makes a transition. When the lane becomes free, the shop's next operation
	// becomes Planned. ErrStale, ErrMerchantConflict, ErrVersionTaken,
	// ErrOlderVersion: nothing was changed.
	Apply(ctx context.Context, t Transition) error
}

// Actions are what operators request.
type Actions interface {
	// AppendIntent appends an operator action and its audit entry, also beside a
	// worker. ErrNotFound: no such operation or account. ErrIntentExists,
	// ErrTooManyIntents.
	AppendIntent(ctx context.Context, i Intent, audit AuditEntry) error
	// IntentsChanged is signalled when an action may wait, as far as the database
	// signals it; actions that another process appended may not be signalled.
	// PendingIntents lists the waiting actions, the oldest first. It is cheap enough
	// to be called every second.
	IntentsChanged() <-chan struct{}
	PendingIntents(ctx context.Context, limit int) ([]PendingIntent, error)
	// EndIntent ends an action that has no effect, or one on a gate. An action with an
	// effect on an operation ends in its Transition.
	EndIntent(ctx context.Context, e IntentEnd) error
	AppendAudit(ctx context.Context, e AuditEntry) error
}

// Outbox holds the events to be published.
type Outbox interface {
	// OutboxChanged is signalled when an event may wait to be published.
	OutboxChanged() <-chan struct{}
	// Pending lists the rows above after in order, at most limit rows and about
	// maxBytes, but at least one row. Pending and MarkPublished return ErrStale if
	// another process has acquired the relay lease that this journal had, or if it was
	// released.
	Pending(ctx context.Context, after int64, limit, maxBytes int) ([]Outgoing, error)
	MarkPublished(ctx context.Context, rows []Published) error
}

// Upkeep bounds the size of the journal.
type Upkeep interface {
	// Capacity is cheap enough to be called every second.
	Capacity(ctx context.Context) (Capacity, error)
	// EraseReceipts examines at most limit receipts of attempts above after, the
	// oldest first, and erases those of ended operations that were verified by before.
	// Next is where to continue, 0 at the end.
	EraseReceipts(ctx context.Context, before time.Time, after AttemptID, limit int) (next AttemptID, erased int, err error)
	// Prune deletes rows of one kind that are old enough and not needed any more; see
	// TableRows. It examines Limit rows above After, the oldest first, and runs behind
	// other waiting changes. If another process prunes at the same moment, it does
	// nothing. ErrNotFound: no such kind.
	Prune(ctx context.Context, p Prune) (Pruned, error)
}

// RateLimitHistory is for a caller that knows that the journal is incomplete.
type RateLimitHistory interface {
	// AssumeRateLimitUsed records that it is not known what was sent before now: every
	// rate limit is used up until one slack and one window from now, also after a
	// restart.
	AssumeRateLimitUsed(ctx context.Context) error
	// UnknownSince is the instant before which it is not known what was sent. Zero:
	// everything is known.
	UnknownSince(ctx context.Context) (time.Time, error)
	// RaiseFloor is for a journal that replaces a lost one. From now on no event of a
	// shop has a sequence of floor or below, and no credentials have a version of
	// floor or below. A floor that is not above the present one changes nothing.
	RaiseFloor(ctx context.Context, floor int64) error
}

// Recoveries restore what a copy of the journal lacks. Methods other than RecoveryDue,
// Recover and PublishedOffsets fail with ErrNotRecovering before Recover.
type Recoveries interface {
	// RecoveryDue reports whether the journal is a copy, or its recovery has not ended.
	RecoveryDue(ctx context.Context) (bool, error)
	// Recover begins the recovery of a restored journal, or continues one that did not
	// end. No worker can open the journal before EndRecovery. Ingest then also asks the
	// restorer about each operation that begins a run, with the imported results that
	// follow from the run's event.
	Recover(ctx context.Context, r Restorer) (Recovery, error)
	// PublishedOffsets lists, for each type (as Topic) and partition, the offset behind
	// the last record that the journal knows.
	PublishedOffsets(ctx context.Context) ([]Position, error)
	// ImportPublished keeps published events with their bytes, so that a repeated event
	// has the same bytes, and raises the sequences of their shops. Known events are
	// marked as published.
	ImportPublished(ctx context.Context, as []PublishedEvent) (ImportResult, error)
	// ResetPositions sets positions back, for topics that were recreated.
	ResetPositions(ctx context.Context, ps []Position) error
	// Restore asks the restorer about at most limit operations above after: those with
	// imported results of their current run that it has not seen, or, with last, all
	// that are open, in attention or have results left, each once. Next is where to
	// continue, 0 at the end. Words counts the outcomes, including those of operations
	// that Ingest asked about since the previous call.
	Restore(ctx context.Context, last bool, after int64, limit int) (next int64, words map[string]int, err error)
	// EndRecovery deletes what only the recovery needed. The history of the rate limits
	// is unknown from then on. No version of credentials that an event named is used
	// again. EndRecovery returns the shops of `activated` events that belong to no
	// known operation.
	EndRecovery(ctx context.Context, e RecoveryEnd) ([]ShopKey, error)
}

// Reads are for operators and metrics. They do not wait for the writer.
type Reads interface {
	Stats(ctx context.Context) (Stats, error)
	Operations(ctx context.Context, f OperationFilter) ([]OperationRecord, error)
	Operation(ctx context.Context, id uuid.UUID) (OperationDetail, error)
	// Responses lists the responses of an operation that are still kept, the oldest
	// first. ErrNotFound: no such operation.
	Responses(ctx context.Context, id uuid.UUID) ([]KeptResponse, error)
	Shop(ctx context.Context, k ShopKey) (ShopHistory, error)
	Credential(ctx context.Context, k ShopKey, version int64) (Credential, error) // version 0: the newest
	DeadLetters(ctx context.Context, before int64, limit int) ([]DeadLetterRecord, error)
	// ShopDeadLetters lists the newest dead letters whose event names the shop or, if
	// the event could not be read, whose key does. The account is compared if it is
	// known.
	ShopDeadLetters(ctx context.Context, shop ShopKey, limit int) ([]DeadLetterRecord, error)
	// Intents lists operator actions without their tokens, the newest first.
	Intents(ctx context.Context, f IntentFilter) ([]Intent, error)
	Audit(ctx context.Context, before int64, limit int) ([]AuditEntry, error)
}
