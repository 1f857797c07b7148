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

// A Journal is the durable memory. Every method that changes something returns
// after the change is on disk, or with an error after which it is not there;
// where even that is not known (the database went away during commit) the
// error says so by wrapping context or driver errors, and the fencing of every
// step makes a second try safe. Methods are safe for concurrent use; what is
// asked for at the same time is committed together.
//
// Callers declare the few methods that they use as interfaces of their own;
// this one is what a database must offer, and what the conformance suite walks.
type Journal interface {
	// Identity is the journal's own id, made with it and never changed.
	Identity() uuid.UUID
	// Origin is the identity with which the journal began. A recovery does not
	// change it: seals name it.
	Origin() uuid.UUID
	// Authenticate sets what makes the MACs of the outbox's rows from now on; before,
	// rows have none.
	Authenticate(a Authenticator)
	// Close ends what was asked for and gives the database back. Every later
	// call fails with ErrClosed.
	Close() error
	// KeysetCheck returns what SetKeysetCheck keeps, nil before: bytes by which
	// the caller can tell whether its keys fit this journal. The first that is set
	// stays, and only a recovery replaces it (see [RecoveryEnd]): of two processes
	// that begin at the same moment both find the one that holds. Each call writes
	// to the disk.
	KeysetCheck(ctx context.Context) ([]byte, error)
	SetKeysetCheck(ctx context.Context, check []byte) error
	// RegisterKeys records the keys that this process writes rows with, before it
	// does. Have are all of its keys: recorded ones that are not among them are
	// retired, so the caller looks first that no row needs them (see KeyRows). From
	// then on Ingest fails with ErrKeyMissing when another process has recorded one
	// that is not among them, and with ErrKeyRetired when one has retired a primary.
	RegisterKeys(ctx context.Context, primary, have []Key) error
	// UsedKeys lists the keys that were recorded. KeyRows counts the rows that need
	// each of some keys; it reads whole tables.
	UsedKeys(ctx context.Context) ([]Key, error)
	KeyRows(ctx context.Context, keys []Key) ([]KeyRows, error)

	// Accounts: a name is permanent and so is its partner id.
	EnsureAccount(ctx context.Context, name, partnerID string) error
	Accounts(ctx context.Context) ([]Account, error)
	// SetGate replaces the gate if its state and reason are still those of was; nil
	// replaces whatever it is. Else it is ErrStale: somebody else, a person or
	// another replica, has changed it. From one that is not open to the next one that is, the account is closed: see
	// ClaimedOperation.GateClosed.
	SetGate(ctx context.Context, account string, g Gate, was *Gate) error
	// ReserveTrial puts the end of a limited or resting gate off, for whoever makes the
	// one call that tries it: to all others it is closed until then. ErrStale when
	// its state or reason are not those of was, or its end is still to come and not
	// that of was (within 10 ms): somebody else makes it. With a present until, who
	// put the end off takes that back. ErrNotFound: the account.
	ReserveTrial(ctx context.Context, account string, was Gate, until time.Time) error

	// Positions of every partition that was begun.
	Positions(ctx context.Context) ([]Position, error)
	// InitPositions sets the positions of partitions that have none, and leaves others alone.
	InitPositions(ctx context.Context, ps []Position) error
	// Ingest takes a batch: inbox, plans, dead letters, cancellations and
	// position in one transaction. ErrPosition when the journal stands elsewhere.
	Ingest(ctx context.Context, b Batch) (Ingested, error)

	// Capacity is cheap: it may be asked every second.
	Capacity(ctx context.Context) (Capacity, error)

	// Changed is signalled (never blocking, coalesced) when an operation may
	// have become due; Due lists for each account, kind and stage with claimable
	// work when its first is due.
	Changed() <-chan struct{}
	Due(ctx context.Context) ([]Due, error)
	// Claim in stage Call, and BeginAttempt, fail with ErrFull where what is left of the
	// disk is kept for the ends of what is in flight.
	Claim(ctx context.Context, r ClaimRequest) ([]ClaimedOperation, error)
	// ReleaseExpiredLeases ends leases that have run out: Claimed becomes Planned again,
	// Sending becomes Unknown (due at once, doubt set). A journal that only one process can
	// hold ends all leases of earlier processes when it is opened.
	ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error)

	// AvailablePermits tells how many permits a ledger has left, and when the next comes back if none.
	AvailablePermits(ctx context.Context, p Permit) (n int, next time.Time, err error)
	// BeginAttempt moves Claimed to Sending and takes the permits: all or nothing.
	// ErrStale, *NoPermitError, *AddressCoolDownError (the operation stays Claimed).
	// Of invitations to one address that are sent at the same moment, also by several
	// replicas, one is let through.
	BeginAttempt(ctx context.Context, s AttemptStart) (AttemptID, error)
	BeginCheck(ctx context.Context, c Check) (AttemptID, error)
	// EndAttempt says what became of a check, or of an attempt whose operation went
	// on without it (its Apply is ErrStale): so its permits come back as they
	// should. The first end of an attempt holds.
	EndAttempt(ctx context.Context, id AttemptID, end AttemptEnd) error
	// SaveResponse saves a receipt in whatever state the operation is by then:
	// Sending of the same claim becomes Received and stays the caller's. Any other
	// state before an answer (Queued to Sending, Unknown, Attention but for reasons
	// that rest on a receipt) becomes Received, anybody's: whoever held it is fenced
	// off, so that nothing more is sent. It is due when all of its other attempts
	// were answered, or may no more be on their way (their permits' slack after
	// their end, or after their deadline where none is known), and holds its lane
	// until then. After that the receipt
	// is kept beside the operation, which is due for a comparison at once when it
	// has ended or is in attention, and else when it comes to that. It returns the state after it and whether the operation is still the caller's.
	SaveResponse(ctx context.Context, r Receipt) (s State, mine bool, err error)
	// EraseReceipts looks at limit receipts of attempts above after, the oldest
	// first, and erases those of ended operations that were verified by before.
	// Next is where to go on, 0 at the end.
	EraseReceipts(ctx context.Context, before time.Time, after AttemptID, limit int) (next AttemptID, erased int, err error)
	// Prune forgets rows of one kind that are older than asked for and that nothing
	// needs any more; see TableRows. It looks at Limit rows above After, the oldest
	// first, behind what else waits to be written. Where another process prunes at
	// the same moment it does nothing. ErrNotFound: no such kind.
	Prune(ctx context.Context, p Prune) (Pruned, error)
	// Apply makes a transition. ErrStale, ErrMerchantConflict, ErrVersionTaken,
	// ErrOlderVersion
	// (nothing is changed by any of them). When the lane becomes free the shop's
	// next operation becomes Planned.
	Apply(ctx context.Context, t Transition) error

	// AppendIntent writes what a person asks for, with the audit entry of the
	// asking; also beside a worker. ErrNotFound: the operation or the account;
	// ErrIntentExists; ErrTooManyIntents.
	AppendIntent(ctx context.Context, i Intent, audit AuditEntry) error
	// IntentsChanged is signalled when an intent may wait, as far as the database
	// tells: of one that another process wrote it may not. PendingIntents lists
	// those that wait, the oldest first; looking every second is cheap.
	IntentsChanged() <-chan struct{}
	PendingIntents(ctx context.Context, limit int) ([]PendingIntent, error)
	// EndIntent ends an intent whose effect is none, or on a gate. One whose
	// effect is on an operation ends in its Transition.
	EndIntent(ctx context.Context, e IntentEnd) error
	Reviews

	// OutboxChanged is signalled when something may wait to be published.
	OutboxChanged() <-chan struct{}
	// Pending lists rows above after, in order, at most limit and about maxBytes (at least one).
	// Both: ErrStale when another process acquired the relay lease that this journal had, or it was released.
	Pending(ctx context.Context, after int64, limit, maxBytes int) ([]Outgoing, error)
	MarkPublished(ctx context.Context, rows []Published) error
	RelayLeases

	// AssumeRateLimitUsed says that what was sent before now is not known: every
	// ledger is used up until one slack and one window from now, over restarts
	// too.
	AssumeRateLimitUsed(ctx context.Context) error
	// RaiseFloor is for a journal that takes the place of a lost one: from now on
	// no event of a shop has a sequence of floor or below, and no credentials a
	// version of floor or below. A floor that is not above the present one changes
	// nothing.
	RaiseFloor(ctx context.Context, floor int64) error
	// RecoveryDue tells whether the journal is a copy, or its recovery has not ended.
	RecoveryDue(ctx context.Context) (bool, error)
	// Recover begins the recovery of a restored journal, or goes on with one that
	// did not end. Until EndRecovery no worker can open the journal. Ingest, too,
	// then asks the restorer: for each operation that begins a run, with the
	// results that were taken over and follow from the run's event.
	Recover(ctx context.Context, r Restorer) (Recovery, error)
	// PublishedOffsets lists for each type (as Topic) and partition the offset behind
	// the last record that the journal knows.
	PublishedOffsets(ctx context.Context) ([]Position, error)
	// ImportPublished keeps published events with their bytes, so that a repeat is the
	// same, and raises the sequences of their shops. Known ones count as published.
	ImportPublished(ctx context.Context, as []PublishedEvent) (ImportResult, error)
	// ResetPositions sets positions back, for topics that were made anew.
	ResetPositions(ctx context.Context, ps []Position) error
	// Restore asks the restorer about operations above after, at most limit: those
	// with results of their current run that were not looked at, or, the last
	// time, all that are open or in attention or have results left, each once. Next
	// is where to go on, 0 at the end; words counts what came of
	// them and, since it was last asked, of those that Ingest asked about.
	Restore(ctx context.Context, last bool, after int64, limit int) (next int64, words map[string]int, err error)
	// EndRecovery forgets what only the recovery needed. The ledgers' history is
	// unknown from then on. No version of credentials that an event named is used
	// again. It returns the shops of `activated` events that no operation is
	// known for.
	EndRecovery(ctx context.Context, e RecoveryEnd) ([]ShopKey, error)

	Reports

	// Reads, on connections of their own.
	Stats(ctx context.Context) (Stats, error)
	Operations(ctx context.Context, f OperationFilter) ([]OperationRecord, error)
	Operation(ctx context.Context, id uuid.UUID) (OperationDetail, error)
	// Responses lists the responses that are kept of an operation, the oldest first.
	// ErrNotFound: the operation.
	Responses(ctx context.Context, id uuid.UUID) ([]KeptResponse, error)
	Shop(ctx context.Context, k ShopKey) (ShopHistory, error)
	Credential(ctx context.Context, k ShopKey, version int64) (Credential, error) // version 0: the newest
	DeadLetters(ctx context.Context, before int64, limit int) ([]DeadLetterRecord, error)
	// ShopDeadLetters lists the newest dead letters whose event or, where that could
	// not be read, whose key names the shop. The account counts where it is known.
	ShopDeadLetters(ctx context.Context, shop ShopKey, limit int) ([]DeadLetterRecord, error)

	// Intents lists intents without their tokens, the newest first.
	Intents(ctx context.Context, f IntentFilter) ([]Intent, error)
	AppendAudit(ctx context.Context, e AuditEntry) error
	Audit(ctx context.Context, before int64, limit int) ([]AuditEntry, error)
}
