package steps

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// A Database stores the rows of one journal.
type Database interface {
	// Write runs a request in a transaction of the writer, together with other
	// waiting requests, and returns after the commit. If ctx ends first, the request
	// may still run.
	Write(ctx context.Context, r *Request) error
	// Read passes the rows of a query to each. It does not wait for the writer.
	Read(ctx context.Context, q Query, args []any, each func(columns []string, values []any) error) error
	Clock() Clock
	// Writable returns why this process has no writer, nil if it has one.
	Writable() error
	// MayBegin returns why no attempt may begin now, nil if it may: a reserve of the
	// disk is left for the ends of attempts. Nil on a database without a reserve.
	MayBegin() error
	// EndLeasesOfDead ends the leases of processes that are gone, on a database that
	// several processes share.
	EndLeasesOfDead(ctx context.Context) error
	// Exclusive reports whether only this process can write to the database.
	Exclusive() bool
	// CircuitTimes returns the instants of an account's circuit breaker, as the last Tx.KeepCircuit got
	// them if the database remembers that.
	CircuitTimes(a *rows.Account) (until, since time.Time)
	// Scrub rewrites the files of the database, so that they contain nothing that was
	// deleted or replaced; false if only the database's operator can do that.
	Scrub(ctx context.Context) (done bool, err error)
	// LeaseTerm returns the term in which this process may read and mark the outbox: 0
	// if it never acquired the relay lease, or if no other process can. Held is false
	// after it has released the lease.
	LeaseTerm() (term int64, held bool)
	// AvailablePermits is Tx.AvailablePermits without waiting for the writer. Known is
	// false if only the writer can count them.
	AvailablePermits(ctx context.Context, p journal.Permit) (left Available, known bool, err error)
}

// A Clock translates between the database's time and instants of this process.
type Clock interface {
	// Now returns approximately the database's time, in microseconds.
	Now() int64
	// Stamp returns the database's time of t in microseconds, 0 for the zero time.
	Stamp(t time.Time) int64
	// StampUp is Stamp, rounded up: for the end of a wait.
	StampUp(t time.Time) int64
	// Instant is the inverse of Stamp: an instant of this process's clock.
	Instant(micros int64) time.Time
}

// A Request is one step that waits for the writer.
type Request struct {
	Needs   Needs
	Records int // number of records of intake; 0 for the step of an operation, which runs before intake
	// Last runs the request after all others of its transaction. It is for claims,
	// which skip rows that others have locked.
	Last bool
	// Beside allows a process without a writer to run the request in a transaction of
	// its own. Such a request may query, run statements and insert rows.
	Beside bool
	// Load names the rows that Do needs. It may be nil.
	Load func(*Loader)
	// Do makes the step. If it returns an error, only its own changes are rolled back.
	Do func(*Unit) error
}

// Order brings requests into the order in which [Journal.Run] runs them: those that are
// Last behind the others. A writer orders them before the transaction, so that they
// keep the order if each has to run in a transaction of its own.
func Order[R any](requests []R, step func(R) *Request) {
	last := func(r R) int {
		if step(r).Last {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(requests, func(a, b R) int { return last(a) - last(b) })
}

// Needs are the locks that a request needs before it runs. A transaction acquires
// the locks of all its requests at once and in one order, so that replicas do not
// deadlock. A database that only one process can write to locks nothing.
type Needs struct {
	Operations  []int64           // locks their shops
	Missing     error             // the request's error if one of Operations does not exist
	Shops       []journal.ShopKey // inserted if they are new
	ShopIDs     []int64
	Invitees    []journal.ShopKey // locks those that have an open invitation, or are to be reminded of one
	Ledgers     []string          // whose permits it takes; inserted if they are new
	LockLedgers bool              // locks Ledgers before their permits are counted, so that no other replica takes permits of them meanwhile
	Anyway      bool              // run also in a database that is refused
}

// A Tx is one transaction of the writer. After an error of one of its methods the
// transaction is rolled back.
type Tx interface {
	// Now returns the database's time in microseconds, read after all locks were
	// acquired.
	Now() (int64, error)
	// Load runs queries, in one round trip.
	Load(asks []Ask) error
	// Save writes changed rows, in order. It may defer that to the next call, or to
	// the commit.
	Save(changes []Change) error
	// Exec runs a statement and returns how many rows it changed.
	Exec(q Query, args ...any) (int64, error)
	// Later runs a statement. It may defer that as Save does.
	Later(q Query, args ...any) error
	// Last returns the last id that was assigned from a series.
	Last(s Series) (int64, error)
	// AccountName and ShopOf return what is cached, without a query.
	AccountName(id int64) string
	ShopOf(operation int64) (shop int64, ok bool)
	// Shop finds a shop of [Needs.Shops], if the database inserts shops before the
	// transaction.
	Shop(k journal.ShopKey) (shop, account int64, ok bool)
	// MakeShop finds a shop. If there is none it returns the row to insert.
	MakeShop(k journal.ShopKey) (int64, *rows.Shop, error)
	// Invited finds a shop of [Needs.Invitees] that may have an open invitation, or may
	// be to be reminded of one, 0 if it has none.
	Invited(k journal.ShopKey) (shop int64, err error)
	// AskPermits returns the queries that count permits, one for each ledger of the
	// transaction. A ledger that was not named is counted at its first use.
	AskPermits(ps []journal.Permit) []Ask
	// AvailablePermits counts the permits that are left, with the changes of this
	// transaction.
	AvailablePermits(p journal.Permit) (Available, error)
	// TakePermits takes one of each permit for an attempt; all must be available. It
	// returns the ledgers' ids, and may round up the instant from which the attempt
	// counts to the grain of its ledgers. A rollback returns the permits.
	TakePermits(a *rows.Attempt, ps []journal.Permit) (ledgers []int64, err error)
	// PermitsBack changes the instant from which the permits of an attempt count from
	// was to is. If counts is false they are available at once.
	PermitsBack(a *rows.Attempt, was, is int64, counts bool)
	// Replica is the number of this process among the replicas, 0 if there is only one.
	Replica() int64
	// Opened returns the first attempt id of this process, and since when earlier
	// processes cannot send any more. Both are 0 if other processes may be running.
	Opened() (first, at int64)
	// KeepOperation caches the columns of a claimed operation that never change.
	KeepOperation(o *rows.Operation, shop journal.ShopKey)
	// LostCommits reports whether the database has lost acknowledged commits.
	LostCommits() bool
	// KeepCircuit remembers the instants of a circuit breaker as the caller set them.
	KeepCircuit(a *rows.Account, g journal.Circuit)
	// AccountID returns a cached account, and KeepAccount caches one.
	AccountID(name string) (id int64, ok bool)
	KeepAccount(id int64, name string)
	// Signal notifies waiting processes after the commit.
	Signal(s Signals)
	// LockPruning acquires the lock for pruning until the end of the transaction. It
	// returns false if another process holds it.
	LockPruning() (bool, error)
	// LockAudit acquires the lock for appending to the audit trail until the end of the
	// transaction, at the latest with the next call.
	LockAudit()
	// After runs f after the commit.
	After(f func())
	// BeginRecovery reports whether no other process is running, and keeps others from
	// starting until the end of the transaction.
	BeginRecovery() (alone bool, err error)
	// EndRecovery changes the journal's identity, so that processes with the old one
	// are refused.
	EndRecovery(identity uuid.UUID) error
	// HistoryUnknown marks the ledgers in memory as used up, as the fact [History] does.
	HistoryUnknown()
	// FloorRaised sets the floor of new shops.
	FloorRaised(floor int64)
}

// Available is how many permits of a ledger are left.
type Available struct {
	Permits int
	Next    int64 // when the next permit is available, if none is left
}

// Signals are the events that a transaction signals after its commit.
type Signals struct {
	Work    bool // an operation may have become due
	Outbox  bool // an event waits to be published
	Intents bool // an intent waits
}

// Or returns the events of both.
func (s Signals) Or(t Signals) Signals {
	return Signals{s.Work || t.Work, s.Outbox || t.Outbox, s.Intents || t.Intents}
}

// An Ask queries rows: the rows of Query; or the rows of Table with Keys, which it
// locks for update; or N increasing ids of Series, one in each row.
type Ask struct {
	Query  Query
	Args   []any
	Table  *rows.Table
	Keys   []int64
	Series Series
	N      int
	Each   func(columns []string, values []any) error // may retain the values, but not the slices
	Row    func(row any) error                        // instead of Each, for Table: gets a pointer to its struct, which it must not change
}

// A Change lists the inserted, updated and deleted rows of one table; each row is a
// pointer to the table's struct, which nothing changes any more.
type Change struct {
	Table  *rows.Table
	Loaded bool // rows of the table are loaded by their keys
	Insert []any
	Update []Update
	Delete []any
}

// An Update is a row as it is now and as the database has it. Columns are the
// columns that changed: bit i is column i.
type Update struct {
	Row, Was any
	Columns  uint64
}

// A Series assigns ids.
type Series uint8

// The series of ids.
const (
	EventIDs   Series = iota // of events, and of the operations that they create
	AttemptIDs               // of attempts, and of credentials that an operator entered
	OutboxIDs                // of outbox and outbox_pending, in the order of the commits; until the commit negative numbers may stand for them in the rows to be saved
)
