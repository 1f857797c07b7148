package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// The errors of the journal. Callers use errors.Is.
var (
	// ErrStale: another caller has claimed the operation, or its state is not the expected
	// one.
	ErrStale = errors.New("journal: the operation is not the caller's any more")
	// ErrPosition: the batch does not begin at the journal's position.
	ErrPosition = errors.New("journal: the batch does not begin at the journal's position")
	// ErrMerchantConflict: the merchant id belongs to another shop, or the shop has
	// another one.
	ErrMerchantConflict = errors.New("journal: the merchant id conflicts with what is known")
	// ErrVersionTaken: the credential's version exists.
	ErrVersionTaken = errors.New("journal: the credential's version exists")
	// ErrOlderVersion: the shop's current credential is a newer one.
	ErrOlderVersion = errors.New("journal: the shop's current credential is newer")
	// ErrPartnerDiffers: the account exists with another partner id.
	ErrPartnerDiffers = errors.New("journal: the account is known with another partner id")
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("journal: not found")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal: closed")
	// ErrHeld: another worker has the journal open.
	ErrHeld = errors.New("journal: held by another worker")
	// ErrNewer: the journal was written by a newer version.
	ErrNewer = errors.New("journal: written by a newer version of this program")
	// ErrReadOnly: the journal was opened for reading, beside a worker.
	ErrReadOnly = errors.New("journal: opened to be read only")
	// ErrNotDurable: the database does not promise durability.
	ErrNotDurable = errors.New("journal: the database is not durable")
)

// A NoPermitError reports that a ledger has no permit left.
type NoPermitError struct {
	RateLimit string
	Next      time.Time // when the next permit is available, as far as is known
}

func (e *NoPermitError) Error() string {
	return fmt.Sprintf("journal: no permit left in ledger %q", e.RateLimit)
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
	DeadLetterActions
	Work
	Reviews
	CredentialMoves
	Actions
	ShopActions
	Reminders
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
	// Authenticate sets the authenticator that makes the MACs of outbox rows. Rows that
	// are inserted before this call have none.
	Authenticate(a Authenticator)
	// KeysetCheck returns the bytes that SetKeysetCheck stored, nil if there are none.
	// With them the caller checks whether its keys belong to this journal.
	// SetKeysetCheck stores bytes only if there are none, so that two processes that
	// start at the same moment find the same ones. Only a recovery replaces them (see
	// [RecoveryEnd]). Each call of SetKeysetCheck writes to the disk.
	KeysetCheck(ctx context.Context) ([]byte, error)
	SetKeysetCheck(ctx context.Context, check []byte) error
	// RegisterKeys records the keys with which this process is going to write rows.
	// Have are all of its keys. It retires recorded keys that are not in have, so the
	// caller first checks that no row needs them (see KeyRows). From then on Ingest
	// fails with ErrKeyMissing if another process has recorded a key that is not in
	// have, and with ErrKeyRetired if another process has retired one in primary.
	RegisterKeys(ctx context.Context, primary, have []Key) error
	// UsedKeys lists the recorded keys. KeyRows counts the values that need each of
	// some keys; it reads whole tables.
	UsedKeys(ctx context.Context) ([]Key, error)
	KeyRows(ctx context.Context, keys []Key) ([]KeyRows, error)
	// Reseal has values of a column sealed with another key. It changes nothing but the
	// value and its key, and no value that was changed since it was read. ErrStale:
	// another process has the relay lease, so that only one seals. ErrNotFound: no
	// such column.
	Reseal(ctx context.Context, r Reseal, seal Sealer) (Resealed, error)
}

// Accounts are the partner accounts and their circuit breakers.
type Accounts interface {
	// EnsureAccount inserts an account. Its name and partner id never change.
	// ErrPartnerDiffers: it exists with another partner id.
	EnsureAccount(ctx context.Context, name, partnerID string) error
	Accounts(ctx context.Context) ([]Account, error)
	// SetCircuit replaces a circuit breaker. ErrStale: its state or reason are not those
	// of was, because an operator or another replica has changed it. If was is nil, any
	// circuit breaker is replaced. The time until the circuit breaker is active again is
	// added up: see ClaimedOperation.CircuitOpen.
	SetCircuit(ctx context.Context, account string, g Circuit, was *Circuit) error
	// ReserveTrial postpones the end of a throttled or backing-off circuit breaker, so
	// that only the caller makes the trial: for all others it is not active until then. An
	// until that is not in the future cancels the caller's reservation. ErrStale: the
	// state or the reason are not those of was, or another replica makes the trial: the
	// end is in the future and differs from that of was by more than 10 ms. ErrNotFound:
	// no such account.
	ReserveTrial(ctx context.Context, account string, was Circuit, until time.Time) error
}

// Intake stores records from Kafka.
type Intake interface {
	// Positions lists the positions of all partitions that have one.
	Positions(ctx context.Context) ([]Position, error)
	// InitPositions sets the positions of partitions that have none.
	InitPositions(ctx context.Context, ps []Position) error
	// Ingest commits a batch in one transaction: inbox, plans, dead letters,
	// cancellations and the position. ErrPosition: the journal's position is another.
	Ingest(ctx context.Context, b Batch) (Ingested, error)
}

// DeadLetterActions are what operators do with dead letters.
type DeadLetterActions interface {
	// AskReplays marks dead letters for replay, also beside a worker. It skips those
	// without a record, those that wait for a replay or were replayed successfully, and
	// those that were replayed [MaxReplays] times. Asked counts the marked ones. The
	// worker replays them one at a time, at intervals of every, after all that were marked
	// before.
	AskReplays(ctx context.Context, ids []int64, every time.Duration, audit AuditEntry) (asked int, err error)
	// DueReplays lists the marked dead letters, the first due first, including those that
	// are not due yet.
	DueReplays(ctx context.Context, limit int) ([]DeadLetterRecord, error)
	// Replay ingests the record of a marked dead letter and removes the mark. Positions do
	// not change. ErrStale: it is not marked, or was replayed since it was listed.
	Replay(ctx context.Context, r Replay) (ReplayOutcome, error)
	// PurgeDeadLetters deletes dead letters with their events, also beside a worker. It
	// skips those that wait for a replay, those whose event was not published, and the
	// newest. The detail of the audit entry begins with the number of deleted ones.
	// ErrStale: another process is pruning.
	PurgeDeadLetters(ctx context.Context, ids []int64, audit AuditEntry) (purged int, err error)
}

// Work is the life of operations: claims, attempts, responses, transitions.
type Work interface {
	// Changed receives a value when an operation may have become due. Signals that
	// were not received are coalesced. Due lists when the first operation is due, for
	// each account, kind and stage that has one.
	Changed() <-chan struct{}
	Due(ctx context.Context) ([]Due, error)
	// Claim claims due operations. In stage Call it fails with ErrFull if only the
	// reserve of the disk is left, which is for the ends of attempts in flight.
	Claim(ctx context.Context, r ClaimRequest) ([]ClaimedOperation, error)
	// ReleaseExpiredLeases ends leases that have expired: Claimed becomes Planned
	// again, Sending becomes Unknown (due at once, in doubt). If only one process can
	// open the journal, opening it ends all leases of earlier processes.
	ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error)

	// AvailablePermits returns how many permits of a rate limit are left and, if none
	// is, when the next one is available.
	AvailablePermits(ctx context.Context, p Permit) (n int, next time.Time, err error)
	// BeginAttempt moves Claimed to Sending and takes all permits, or none. ErrStale,
	// ErrFull, *NoPermitError, *AddressCoolDownError: the operation stays Claimed. If
	// several attempts, also of several replicas, would invite the same address at the
	// same moment, only one of them begins.
	BeginAttempt(ctx context.Context, s AttemptStart) (AttemptID, error)
	BeginCheck(ctx context.Context, c Check) (AttemptID, error)
	// EndAttempt ends a check, or an attempt whose operation has changed since (its
	// Apply was ErrStale), so that its permits return. Later calls for the same attempt
	// change nothing.
	EndAttempt(ctx context.Context, id AttemptID, end AttemptEnd) error
	// SaveResponse saves a receipt whatever the state of its operation is, and returns
	// the state after that and whether the caller still has the claim:
	//
	//   - Sending under the same claim becomes Received, and the caller keeps the claim.
	//   - Any other state without a response (Queued to Sending, Unknown, and Attention
	//     unless its reason rests on a receipt) becomes Received without a claim. Later
	//     steps of the former claim are ErrStale, so that nothing more is sent. The
	//     operation is due, and its lane free, when each of its other attempts has a
	//     response or cannot arrive any more: one slack after its end, or after its
	//     deadline if it has no end.
	//   - In every other state the receipt is stored and the state stays. When the
	//     operation has ended or is in attention, it is due so that the caller compares
	//     the receipts.
	SaveResponse(ctx context.Context, r Receipt) (s State, mine bool, err error)
	// SaveResponseAndBeginCheck is SaveResponse and BeginCheck in one commit. The check
	// belongs to the operation's account. If the caller has lost the claim, a permit is
	// missing, or the operation has had such a check, the check does not begin and its
	// id is 0.
	SaveResponseAndBeginCheck(ctx context.Context, r Receipt, c Check) (s State, mine bool, check AttemptID, err error)
	// Apply makes a transition. If it frees the lane, the shop's next operation becomes
	// Planned. ErrStale, ErrMerchantConflict, ErrVersionTaken,
	// ErrOlderVersion: nothing was changed.
	Apply(ctx context.Context, t Transition) error
}

// Actions are what operators request.
type Actions interface {
	// AppendIntent appends an operator action and its audit entry, also beside a
	// worker. ErrNotFound: no such operation, account or shop. ErrIntentExists,
	// ErrTooManyIntents.
	AppendIntent(ctx context.Context, i Intent, audit AuditEntry) error
	// IntentsChanged receives a value when an action may wait. Not every database
	// signals actions that another process appended, so the caller also polls.
	// PendingIntents lists the waiting actions but those to skip, the oldest first. It is
	// cheap enough to be called every second, if it returns few.
	IntentsChanged() <-chan struct{}
	PendingIntents(ctx context.Context, limit int, skip []int64) ([]PendingIntent, error)
	// EndIntent ends an action that has no effect, or one on a circuit breaker. An action with an
	// effect on an operation ends in its Transition, one with an effect on a shop in ActOnShop.
	EndIntent(ctx context.Context, e IntentEnd) error
	// AppendAudit appends entries in one commit, also beside a worker.
	AppendAudit(ctx context.Context, entries ...AuditEntry) error
}

// Outbox holds the events to be published.
type Outbox interface {
	// OutboxChanged receives a value when an event may wait to be published.
	OutboxChanged() <-chan struct{}
	// Pending lists the rows above after in order, at most limit rows and about
	// maxBytes, but at least one row. Pending and MarkPublished return ErrStale if
	// another process has acquired the relay lease that this journal had, or if it was
	// released.
	Pending(ctx context.Context, after int64, limit, maxBytes int) ([]OutboxRow, error)
	MarkPublished(ctx context.Context, rows []Published) error
}

// Upkeep bounds the size of the journal.
type Upkeep interface {
	// Capacity is cheap enough to be called every second.
	Capacity(ctx context.Context) (Capacity, error)
	// Prune deletes rows of one kind that are old enough and not needed any more; see
	// TableRows. It examines Limit rows above After, the oldest first, and runs after
	// other waiting requests. If another process is pruning, it does nothing.
	// ErrNotFound: no such kind.
	Prune(ctx context.Context, p Prune) (Pruned, error)
}

// RateLimitHistory is for a caller that knows that the journal is incomplete.
type RateLimitHistory interface {
	// AssumeRateLimitUsed records that requests may have been sent before now which the
	// journal does not have: every rate limit is used up until one slack and one window
	// from now, also after a restart.
	AssumeRateLimitUsed(ctx context.Context) error
	// UnknownSince returns the instant before which the journal may lack requests, zero
	// if it lacks none.
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
	// end. No worker can open the journal before EndRecovery. Until then Ingest asks the
	// restorer about each operation that begins a run, and passes it the imported results
	// that follow from the run's event.
	Recover(ctx context.Context, r Restorer) (Recovery, error)
	// PublishedOffsets lists, for each type (as Topic) and partition, the offset behind
	// the last record that the journal knows.
	PublishedOffsets(ctx context.Context) ([]Position, error)
	// ImportPublished stores published events with their bytes, so that a repeated event
	// has the same bytes, and raises the sequences of their shops. Events that the
	// journal has are marked as published.
	ImportPublished(ctx context.Context, as []PublishedEvent) (ImportResult, error)
	// ResetPositions sets positions back, for topics that were recreated.
	ResetPositions(ctx context.Context, ps []Position) error
	// Restore asks the restorer about at most limit operations above after: those whose
	// current run has imported results that the restorer has not seen. In the last pass
	// it asks once about every operation that is open, is in attention or has such
	// results. Next is where to continue, 0 at the end. Outcomes counts what the restorer
	// decided, including its decisions in Ingest since the previous call.
	Restore(ctx context.Context, last bool, after int64, limit int) (next int64, outcomes map[string]int, err error)
	// EndRecovery deletes the rows that only the recovery needed. It does what
	// AssumeRateLimitUsed does, and raises the versions of credentials above those that
	// an imported event names. It returns the shops of `activated` events that belong to
	// no operation of the journal.
	EndRecovery(ctx context.Context, e RecoveryEnd) ([]UnknownShop, error)
}

// Reads are for operators and metrics. They do not wait for the writer.
type Reads interface {
	Stats(ctx context.Context) (Stats, error)
	Operations(ctx context.Context, f OperationFilter) ([]OperationRecord, error)
	Operation(ctx context.Context, id uuid.UUID) (OperationDetail, error)
	// Responses lists the responses of an operation that were not erased, the oldest
	// first. ErrNotFound: no such operation.
	Responses(ctx context.Context, id uuid.UUID) ([]KeptResponse, error)
	Shop(ctx context.Context, k ShopKey) (ShopHistory, error)
	// Preview returns what Ingest would see of an event at this moment.
	Preview(ctx context.Context, e Event) (Preview, error)
	// Shops lists shops, the newest first.
	Shops(ctx context.Context, f ShopFilter) ([]ShopRecord, error)
	Credential(ctx context.Context, k ShopKey, version int64) (Credential, error) // version 0: the newest
	// PublishedCredential returns the current version of a shop's credentials, which
	// `activated` has announced. Newer ones may be stored. ErrNotFound: the shop is not
	// active. ErrDisconnected: nor was it activated since it was disconnected.
	PublishedCredential(ctx context.Context, k ShopKey) (Credential, error)
	// CredentialVersion returns the highest version of a shop's credentials that has a
	// reference, announced or not. ErrNotFound: none has.
	CredentialVersion(ctx context.Context, k ShopKey, reference string) (int64, error)
	DeadLetters(ctx context.Context, f DeadLetterFilter) ([]DeadLetterRecord, error)
	// Intents lists operator actions without their tokens, the newest first.
	Intents(ctx context.Context, f IntentFilter) ([]Intent, error)
	// Audit lists entries below a number, the newest first; before 0: from the newest.
	// AuditAfter lists entries above a number, the oldest first.
	Audit(ctx context.Context, before int64, limit int) ([]AuditEntry, error)
	AuditAfter(ctx context.Context, after int64, limit int) ([]AuditEntry, error)
}
