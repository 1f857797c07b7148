package steps

import (
	"context"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// A Database keeps the rows of one journal.
type Database interface {
	// Write has a request made in a transaction of the writer, together with what
	// else waits, and returns after the commit. Where ctx ends first it may still be
	// made.
	Write(ctx context.Context, r *Request) error
	// Read hands the rows of a query to each, beside the writer.
	Read(ctx context.Context, q Query, args []any, each func(columns []string, values []any) error) error
	Clock() Clock
	// Writable tells why this process has no writer.
	Writable() error
	// MayBegin tells why no request may be sent now, though what was begun may end:
	// the last of the disk is kept for that. Nil where the database keeps nothing.
	MayBegin() error
	// EndLeasesOfDead ends the leases of processes that are gone, where others can
	// hold the database.
	EndLeasesOfDead(ctx context.Context) error
	// Exclusive tells that one process holds the database.
	Exclusive() bool
	// GateTimes are the instants of an account's gate: as Tx.KeepGate got them, where
	// the database remembers that.
	GateTimes(a *rows.Account) (until, since time.Time)
	// LeaseTerm is the term in which this process may read and mark the outbox: 0
	// where it never acquired the relay lease, or where no other process can. False:
	// it has released the lease.
	LeaseTerm() (term int64, held bool)
	// AvailablePermits is Tx.AvailablePermits, beside the writer. Known tells whether
	// it can be said without the writer.
	AvailablePermits(ctx context.Context, p journal.Permit) (left Available, known bool, err error)
}

// A Clock translates between the database's time and instants of this process.
type Clock interface {
	// Now is about the present by the database's time, in microseconds.
	Now() int64
	// Stamp gives the database's time in microseconds, 0 for the zero time.
	Stamp(t time.Time) int64
	// StampUp is Stamp, rounded up: for the end of what has to have passed.
	StampUp(t time.Time) int64
	// Instant is the way back: what a caller may compare with its own clock.
	Instant(micros int64) time.Time
}

// A Request is one step that waits for the writer.
type Request struct {
	Needs   Needs
	Records int // of intake; 0 for the step of an operation, which goes before
	// Last has it made after all others of its transaction: it takes what nobody has
	// locked and waits for no one.
	Last bool
	// Beside has it made, beside a worker, in a transaction of its own. It may ask and
	// run statements, and insert rows.
	Beside bool
	// Load names rows that Do will ask for. It may be nil.
	Load func(*Loader)
	// Do decides. An error takes back what it has changed, and nothing else.
	Do func(*Unit) error
}

// Needs are what a request has to have locked before it runs. All requests of a
// transaction take their locks at once and in one order, so that two replicas do
// not wait for each other in a circle. A database that only one process holds
// locks nothing.
type Needs struct {
	Operations []int64           // their shops
	Missing    error             // what a request gets of which an operation is not there
	Shops      []journal.ShopKey // made when they are new
	ShopIDs    []int64
	Invitees   []journal.ShopKey // those of them that have an open invitation
	Ledgers    []string          // to take permits from; made when they are new
	Anyway     bool              // also in a database that is refused
}

// A Tx is one transaction of the writer. An error of its methods ends the
// transaction: none of the changes are kept.
type Tx interface {
	// Now is the database's time, in microseconds, once all is locked that has to be.
	Now() (int64, error)
	// Load runs queries, in one round trip.
	Load(asks []Ask) error
	// Save changes rows, in order. It may be put off to the next call, or to the
	// commit.
	Save(changes []Change) error
	// Exec runs a statement and tells how many rows it changed.
	Exec(q Query, args ...any) (int64, error)
	// Later runs a statement, which may be put off as the saving of rows.
	Later(q Query, args ...any) error
	// Last is the last id of a series that was given to anybody.
	Last(s Series) (int64, error)
	// AccountName and ShopOf tell what is known without a look at the database.
	AccountName(id int64) string
	ShopOf(operation int64) (shop int64, ok bool)
	// Shop knows those that were named in [Needs.Shops], where the database makes shops
	// before the transaction.
	Shop(k journal.ShopKey) (shop, account int64, ok bool)
	// MakeShop finds a shop. Of one that is not there it returns the row to be made.
	MakeShop(k journal.ShopKey) (int64, *rows.Shop, error)
	// Invited finds a shop of [Needs.Invitees] that may have an open invitation, 0 where
	// it has none.
	Invited(k journal.ShopKey) (shop int64, err error)
	// AskPermits are the questions by which permits are counted, once for each ledger
	// of the transaction. One that was not named is counted when it is looked at.
	AskPermits(ps []journal.Permit) []Ask
	// AvailablePermits tells how many permits are left in the transaction as it is now.
	AvailablePermits(p journal.Permit) (Available, error)
	// TakePermits takes one of each for an attempt, which all are available. It gives
	// the ledgers' ids, and may move the instant from which the attempt counts to the
	// grain of its ledgers. They are back where the transaction is lost.
	TakePermits(a *rows.Attempt, ps []journal.Permit) (ledgers []int64, err error)
	// Permits of an attempt come back: they counted from was, and count from is now,
	// or not at all.
	PermitsBack(a *rows.Attempt, was, is int64, counts bool)
	// Replica is the number of this process among those of the journal, 0 where it is
	// the only one.
	Replica() int64
	// Opened tells which attempts are of earlier processes, those with an id below
	// first, and since when none of those can send any more. Both are 0 where they may
	// go on.
	Opened() (first, at int64)
	// KeepOperation remembers of an operation that was claimed what never changes.
	KeepOperation(o *rows.Operation, shop journal.ShopKey)
	// LostCommits tells whether the database has lost commits that were acknowledged.
	LostCommits() bool
	// KeepGate remembers the instants of a gate as the caller gave them.
	KeepGate(a *rows.Account, g journal.Gate)
	// AccountID tells what is known without a look at the database, KeepAccount what
	// was found there.
	AccountID(name string) (id int64, ok bool)
	KeepAccount(id int64, name string)
	// Signal tells after the commit who waits.
	Signal(s Signals)
	// PruneAlone tells whether no other process forgets rows now. None begins until
	// the end of the transaction.
	PruneAlone() (bool, error)
	// After has f run once the transaction is committed.
	After(f func())
	// BeginRecovery tells whether no other process is at work. None begins until the
	// end of the transaction, and then finds the mark of the recovery.
	BeginRecovery() (alone bool, err error)
	// EndRecovery gives the journal another identity, by which processes that do not
	// know of the recovery find that they are strangers.
	EndRecovery(identity uuid.UUID) error
	// HistoryUnknown makes the ledgers in memory wait, as the fact [History] says.
	HistoryUnknown()
	// FloorRaised says what new shops begin with.
	FloorRaised(floor int64)
}

// Available says how many permits of a ledger are left.
type Available struct {
	Permits int
	Next    int64 // when there is one, where none is left
}

// Signals say what a transaction has brought.
type Signals struct {
	Work    bool // an operation may have become due
	Outbox  bool // something waits to be published
	Intents bool // an intent waits
}

// An Ask asks for rows: those of a query, or those of a table by their keys, which
// it locks for a change; or for N rising ids of a series, one a row.
type Ask struct {
	Query  Query
	Args   []any
	Table  *rows.Table
	Keys   []int64
	Series Series
	N      int
	Each   func(columns []string, values []any) error
	Row    func(row any) error // instead of Each, of a table: gets pointers to its struct, which are not to be kept
}

// A Change is rows of one table that were made, changed or dropped; each is a
// pointer to the table's struct.
type Change struct {
	Table  *rows.Table
	Insert []any
	Update []Update
	Delete []any
}

// An Update is a row as it is now, with the columns that changed (bit i is column
// i), and as the database has it.
type Update struct {
	Row, Was any
	Columns  uint64
}

// A Series gives ids.
type Series uint8

// The series of ids.
const (
	EventIDs Series = iota
	OperationIDs
	AttemptIDs // of attempts, and of receipts that a person brought
	OutboxIDs  // of outbox and republish, in the order of the commits
)
