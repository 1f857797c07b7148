package steps

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

// A Unit holds the rows that the requests of one transaction have loaded and
// inserted. A request sees the changes of the requests before it. The changes of a
// request that fails are rolled back.
//
// After an error of the database the transaction is lost, and no request can recover it.
// So the methods that query or write return no such error: they end [Journal.Run], see
// [Unit.lose]. An error that a step returns is always its own.
type Unit struct {
	tx    Tx
	j     *Journal
	clock Clock
	now   int64

	accounts   entities[rows.Account]
	shops      entities[rows.Shop]
	operations entities[rows.Operation]
	bodies     entities[rows.Body]
	attempts   entities[rows.Attempt]
	intents    entities[rows.Intent]
	published  entities[rows.Published] // of the outbox

	inserts  []insert
	audits   []auditAppend // appended at the end of the transaction
	deferred []statement
	released []int64            // shops whose lane was released
	unqueued map[int64]bool     // shops without an operation that waits for the lane, as queried
	refusals map[int64]refusals // by account
	back     []back             // permits to return
	ids      map[Series][]int64
	events   map[eventKey]int64    // rows of the outbox that were queried or inserted
	owners   map[merchantKey]int64 // merchant id to its shop, 0 for none, as queried
	siblings map[int64][]int64     // by operation that is about to succeed
	times    map[int64]int64       // operation to the time of the event that began its run
	dequeued map[int64]bool        // rows of the queue of repeats that were published
	tried    map[int64]int64       // operation to when its address was last used, as queried
	made     []eventKey            // the inserted ones of events
	signals  Signals
	intake   intake
	commits  []func() // run once the transaction is committed
	undos    []func() // roll back what the current request has changed beside the rows

	request int // increases with each request
	touched []restorer
	mark    mark
	ran     bool // the current request has run a statement, which cannot be rolled back alone
}

type insert struct {
	table *rows.Table
	row   any
}

type statement struct {
	query Query
	args  []any
}

type restorer interface{ restore() }

// A mark holds the lengths of a unit's lists when a request began.
type mark struct {
	inserts, audits, deferred, released, made, back, commits int
	signals                                                  Signals
}

// ErrRollback reports that a request failed after it had run a statement. The caller
// must roll the transaction back and run each of its other requests in a transaction
// of its own.
var ErrRollback = errors.New("journal: a request failed after it had changed the database; the transaction must be rolled back")

func newUnit(j *Journal, tx Tx) *Unit {
	u := &Unit{tx: tx, j: j, clock: j.db.Clock(), ids: make(map[Series][]int64), events: make(map[eventKey]int64),
		owners: make(map[merchantKey]int64), times: make(map[int64]int64), siblings: make(map[int64][]int64), intake: newIntake(),
		tried: make(map[int64]int64), refusals: make(map[int64]refusals), dequeued: make(map[int64]bool),
		unqueued: make(map[int64]bool)}
	t := j.tables
	u.accounts.table, u.shops.table, u.operations.table, u.bodies.table = t.account, t.shop, t.operation, t.body
	u.attempts.table, u.intents.table = t.attempt, t.intent
	u.published.table = t.published
	return u
}

// Run runs requests in one transaction, those that are Last behind the others. Each sees
// what it would see after transactions of those before it. It stores the error of a request that fails
// in errs and skips requests that have one already. After an error that Run itself
// returns the caller must roll the transaction back.
func (j *Journal) Run(tx Tx, requests []*Request, errs []error) (err error) {
	defer catchAbort(&err)
	u := newUnit(j, tx)
	l := &Loader{u: u}
	for i, r := range requests {
		if errs[i] == nil && r.Load != nil {
			r.Load(l)
		}
	}
	l.load()
	now, err := tx.Now()
	u.check(err)
	u.now = now
	for _, last := range []bool{false, true} {
		for i, r := range requests {
			if errs[i] != nil || r.Last != last {
				continue
			}
			if u.seesReleased(r) {
				u.planReleased()
			}
			u.begin()
			if err := r.Do(u); err != nil {
				errs[i] = err
				if u.ran {
					return ErrRollback
				}
				u.rollBack()
			}
		}
		// The requests that run last see these changes.
		u.saveRefusals()
		u.planReleased()
	}
	u.finish()
	return nil
}

// aborted is the database error that aborts a transaction.
type aborted struct{ error }

// abort ends the transaction: Run recovers the panic, so that it never leaves this
// package, and returns the error.
func (u *Unit) abort(err error) { panic(aborted{err}) }

// check ends the transaction if err is an error of the database.
func (u *Unit) check(err error) {
	if err != nil {
		u.abort(err)
	}
}

// load runs queries in one round trip.
func (u *Unit) load(asks ...Ask) {
	if len(asks) > 0 {
		u.check(u.tx.Load(asks))
	}
}

// catchAbort is deferred by a function that uses a unit: it turns an [aborted] into the
// function's error.
func catchAbort(err *error) {
	switch p := recover().(type) {
	case nil:
	case aborted:
		*err = p.error
	default:
		panic(p)
	}
}

// begin begins a request.
func (u *Unit) begin() {
	u.request++
	clear(u.touched)
	clear(u.undos)
	u.touched, u.undos, u.ran = u.touched[:0], u.undos[:0], false
	u.mark = mark{len(u.inserts), len(u.audits), len(u.deferred), len(u.released), len(u.made), len(u.back), len(u.commits), u.signals}
}

// rollBack undoes the changes of the current request.
func (u *Unit) rollBack() {
	for _, e := range u.touched {
		e.restore()
	}
	for _, f := range slices.Backward(u.undos) {
		f()
	}
	u.inserts, u.deferred, u.released = u.inserts[:u.mark.inserts], u.deferred[:u.mark.deferred], u.released[:u.mark.released]
	for _, k := range u.made[u.mark.made:] {
		delete(u.events, k)
	}
	u.made, u.back, u.signals = u.made[:u.mark.made], u.back[:u.mark.back], u.mark.signals
	u.commits, u.audits = u.commits[:u.mark.commits], u.audits[:u.mark.audits]
}

// onCommit runs f after the commit.
func (u *Unit) onCommit(f func()) { u.commits = append(u.commits, f) }

// undo runs f when the current request is rolled back.
func (u *Unit) undo(f func()) { u.undos = append(u.undos, f) }

// forget drops the loaded rows after a statement has changed rows in the database.
// The caller has saved the changes before.
func (u *Unit) forget() {
	u.accounts.forget()
	u.shops.forget()
	u.operations.forget()
	u.bodies.forget()
	u.attempts.forget()
	u.intents.forget()
	u.published.forget()
	clear(u.touched)
	u.touched = u.touched[:0]
	known := u.intake
	u.intake = newIntake()
	u.intake.positions, u.intake.inbox, u.intake.shops, u.intake.kept, u.intake.keys = known.positions, known.inbox, known.shops, known.kept, known.keys
	clear(u.events)
	clear(u.unqueued)
}

func (s *entities[T]) forget() { s.byKey, s.dirty, s.touched = nil, nil, nil }

// finish saves the remaining changes.
func (u *Unit) finish() {
	u.flush()
	u.appendAudits()
	for _, b := range u.back {
		u.tx.PermitsBack(b.attempt, b.was, b.is, b.counts)
	}
	for _, f := range u.commits {
		u.tx.After(f)
	}
	u.tx.Signal(u.signals)
}

// flush saves the changes, so that queries see them.
func (u *Unit) flush() {
	var changes []Change
	add := func(c Change) {
		if len(c.Insert)+len(c.Update)+len(c.Delete) > 0 {
			changes = append(changes, c)
		}
	}
	add(u.accounts.changes(u))
	add(u.shops.changes(u))
	add(u.operations.changes(u))
	add(u.bodies.changes(u))
	add(u.attempts.changes(u))
	add(u.intents.changes(u))
	add(u.published.changes(u))
	of := make(map[*rows.Table]int)
	for _, i := range u.inserts {
		n, ok := of[i.table]
		if !ok {
			n = len(changes)
			of[i.table] = n
			changes = append(changes, Change{Table: i.table})
		}
		changes[n].Insert = append(changes[n].Insert, i.row)
	}
	if len(u.inserts) > 0 {
		// The database has the current request's inserts from here on.
		u.ran = u.ran || len(u.inserts) > u.mark.inserts
		clear(u.inserts)
		u.inserts, u.mark.inserts = u.inserts[:0], 0
	}
	if len(changes) > 0 {
		u.check(u.tx.Save(changes))
	}
	for _, s := range u.deferred {
		u.check(u.tx.Later(s.query, s.args...))
	}
	if len(u.deferred) > 0 {
		u.ran = u.ran || len(u.deferred) > u.mark.deferred
		clear(u.deferred)
		u.deferred, u.mark.deferred = u.deferred[:0], 0
	}
}

// insert adds a row that this transaction does not change again.
func (u *Unit) insert(t *rows.Table, row any) { u.inserts = append(u.inserts, insert{t, row}) }

// later defers a statement until the rows are saved. It runs once for equal arguments.
func (u *Unit) later(q Query, args ...any) {
	for _, s := range u.deferred {
		if s.query == q && reflect.DeepEqual(s.args, args) {
			return
		}
	}
	u.deferred = append(u.deferred, statement{q, args})
}

// exec runs a statement over many rows now, and returns how many it changed.
func (u *Unit) exec(q Query, args ...any) int64 {
	u.flush()
	n, err := u.tx.Exec(q, args...)
	u.check(err)
	u.ran = u.ran || n > 0
	return n
}

// next returns the next id of a series.
func (u *Unit) next(s Series) int64 {
	if len(u.ids[s]) == 0 {
		u.load(u.askIDs(s, 1))
	}
	id := u.ids[s][0]
	u.ids[s] = u.ids[s][1:]
	return id
}

func (u *Unit) askIDs(s Series, n int) Ask {
	return Ask{Series: s, N: n, Each: func(_ []string, values []any) error {
		id, _ := values[0].(int64)
		u.ids[s] = append(u.ids[s], id)
		return nil
	}}
}

// each passes the rows of a query to f, which must not query. The query sees all changes
// so far.
func each[T any](u *Unit, q Query, args []any, f func(*T)) {
	u.flush()
	u.load(asking(q, f, args...))
}

// asking returns an Ask that passes the rows of a query to f as structs.
func asking[T any](q Query, f func(*T), args ...any) Ask {
	var s rows.Scanner[T]
	return Ask{Query: q, Args: args, Each: func(columns []string, values []any) error {
		row, err := s.Scan(columns, values)
		if err == nil {
			f(row)
		}
		return err
	}}
}

// first returns the first row of a query, nil when there is none.
func first[T any](u *Unit, q Query, args ...any) (found *T) {
	each(u, q, args, func(row *T) {
		if found == nil {
			found = row
		}
	})
	return found
}

// askingInts returns an Ask that passes the first column of a query to f: numbers or
// truths. It leaves out NULL.
func askingInts(q Query, f func(int64), args ...any) Ask {
	return Ask{Query: q, Args: args, Each: func(_ []string, values []any) error {
		switch v := values[0].(type) {
		case int64:
			f(v)
		case bool:
			f(stored.Flag(v))
		}
		return nil
	}}
}

// ints returns the first column of a query.
func ints(u *Unit, q Query, args ...any) (list []int64) {
	u.flush()
	u.load(askingInts(q, func(n int64) { list = append(list, n) }, args...))
	return list
}

// firstInt returns the first number that a query finds, 0 for none.
func firstInt(u *Unit, q Query, args ...any) int64 {
	if list := ints(u, q, args...); len(list) > 0 {
		return list[0]
	}
	return 0
}

// An entity is one row: as it is now, and as the database has it.
type entity[T any] struct {
	row     T
	stored  *T // never changed; the database may share it. Nil if it has no such row
	before  *T // before the current request; never changed
	of      *entities[T]
	exists  bool // in the transaction as it is now
	existed bool // before the current request
	request int  // that touched it last
	dirty   bool // may differ from the database
}

// copied returns a copy of the row that is not changed.
func (e *entity[T]) copied() *T {
	if !e.dirty && e.stored != nil {
		return e.stored
	}
	row := e.row
	return &row
}

// restore undoes the current request's change of the row, even if it was saved
// already: the row is then saved again.
func (e *entity[T]) restore() {
	e.row, e.exists = *e.before, e.existed
	e.of.change(e)
}

type entities[T any] struct {
	table   *rows.Table
	byKey   map[int64]*entity[T]
	dirty   []*entity[T]
	touched []*entity[T] // that a request of the transaction may have changed
}

// get returns a row that the current request may change, nil if there is none.
func (s *entities[T]) get(u *Unit, key int64) *T {
	e, ok := s.byKey[key]
	if !ok {
		u.load(s.ask([]int64{key}))
		e = s.byKey[key]
	}
	if !e.exists {
		return nil
	}
	s.touch(u, e)
	return &e.row
}

// list returns the rows with some keys that exist. The current request may change them.
func (s *entities[T]) list(u *Unit, keys []int64) (list []*T) {
	u.load(want(nil, s, keys)...)
	for _, k := range keys {
		if row := s.get(u, k); row != nil {
			list = append(list, row)
		}
	}
	return list
}

// at returns the entity of a key, and whether it is new.
func (s *entities[T]) at(key int64) (e *entity[T], made bool) {
	if e = s.byKey[key]; e != nil {
		return e, false
	}
	if s.byKey == nil {
		s.byKey = make(map[int64]*entity[T])
	}
	e = &entity[T]{of: s}
	s.byKey[key] = e
	return e, true
}

// known returns a row that was loaded before. The caller must not change it.
func (s *entities[T]) known(key int64) (*T, bool) {
	if e, ok := s.byKey[key]; ok && e.exists {
		return &e.row, true
	}
	return nil, false
}

// add inserts a row that the requests of this transaction may change.
func (s *entities[T]) add(u *Unit, key int64, row T) *T {
	e, _ := s.at(key)
	s.touch(u, e)
	e.row, e.exists = row, true
	return &e.row
}

func (s *entities[T]) touch(u *Unit, e *entity[T]) {
	if e.request == 0 {
		s.touched = append(s.touched, e)
	}
	if e.request != u.request {
		e.request, e.before, e.existed = u.request, e.copied(), e.exists
		u.touched = append(u.touched, e)
	}
	s.change(e)
}

// change records that a row may have changed.
func (s *entities[T]) change(e *entity[T]) {
	if !e.dirty {
		e.dirty = true
		s.dirty = append(s.dirty, e)
	}
}

// ask returns an Ask for rows by their keys, and notes those that do not exist.
func (s *entities[T]) ask(keys []int64) Ask {
	for _, k := range keys {
		s.at(k)
	}
	return Ask{Table: s.table, Keys: keys, Row: func(row any) error {
		r, ok := row.(*T)
		if !ok {
			return fmt.Errorf("journal: table %s returned a %T", s.table.Name, row)
		}
		e := s.byKey[s.table.Int(row, 0)]
		if e == nil {
			return fmt.Errorf("journal: table %s returned a row that was not requested", s.table.Name)
		}
		e.keep(r)
		return nil
	}}
}

// keep sets the row as the database has it.
func (e *entity[T]) keep(row *T) { e.row, e.stored, e.exists = *row, row, true }

// loadRows returns the rows of a query that selects all columns of a table, in the
// order of the query. The current request may change them.
func loadRows[T any](u *Unit, s *entities[T], q Query, args ...any) (list []*T) {
	u.flush()
	u.load(Ask{Query: q, Args: args, Each: func(_ []string, values []any) error {
		row := new(T)
		if err := s.table.SetAll(row, values); err != nil {
			return err
		}
		e, _ := s.at(s.table.Int(row, 0))
		e.keep(row)
		s.touch(u, e)
		list = append(list, &e.row)
		return nil
	}})
	return list
}

// changes returns the changes to be saved. Rows that the current request has touched
// stay dirty, because it may change them again.
func (s *entities[T]) changes(u *Unit) Change {
	c := Change{Table: s.table, Loaded: true}
	held := s.dirty[:0]
	for _, e := range s.dirty {
		if e.dirty = e.request == u.request; e.dirty {
			held = append(held, e)
		}
		switch {
		case !e.exists:
			if e.stored != nil {
				c.Delete = append(c.Delete, e.stored)
			}
			e.stored = nil
			continue
		case e.stored == nil:
			row := e.row
			c.Insert, e.stored = append(c.Insert, &row), &row
		default:
			if columns := s.table.Changed(&e.row, e.stored); columns != 0 {
				row := e.row
				c.Update = append(c.Update, Update{Row: &row, Was: e.stored, Columns: columns})
				e.stored = &row
			}
		}
	}
	s.dirty = held
	return c
}

// A Loader collects the rows that requests name.
type Loader struct {
	u                                            *Unit
	operations, shops, attempts, bodies, intents []int64
	published                                    []int64 // rows of the outbox to be marked
	begun                                        []int64 // operations whose run's event time is needed
	events                                       []eventKey
	merchants                                    []merchantKey
	succeeding                                   []int64
	releasing                                    []int64 // shops whose lane is about to be released
	unsent                                       []string
	intake                                       intakeLoad
	permits                                      []journal.Permit
	addressed                                    []int64  // operations whose addresses are used,
	macs                                         [][]byte // and the MACs of the addresses
	ids                                          map[Series]int
	asks                                         []Ask
	accounts                                     []int64 // locked after all other rows
}

// Ask adds a query.
func (l *Loader) Ask(a Ask) { l.asks = append(l.asks, a) }

// IDs reserves n ids of a series.
func (l *Loader) IDs(s Series, n int) {
	if n > 0 {
		if l.ids == nil {
			l.ids = make(map[Series]int)
		}
		l.ids[s] += n
	}
}

func (l *Loader) load() {
	u := l.u
	asks := l.asks
	asks = want(asks, &u.shops, l.shops)
	asks = want(asks, &u.operations, l.operations)
	asks = want(asks, &u.bodies, l.bodies)
	asks = want(asks, &u.attempts, l.attempts)
	asks = want(asks, &u.intents, l.intents)
	asks = want(asks, &u.published, l.published)
	if len(l.begun) > 0 {
		asks = append(asks, u.askEventTimes(l.begun))
	}
	if len(l.succeeding) > 0 {
		asks = append(asks, u.askSiblings(l.succeeding, append([]string{}, l.unsent...)))
	}
	if u.j.lists && len(l.releasing) > 0 {
		asks = append(asks, u.askQueued(l.releasing))
	}
	if u.j.lists && len(l.events) > 0 {
		asks = append(asks, u.askEvents(l.events))
	}
	if u.j.lists && len(l.merchants) > 0 {
		asks = append(asks, u.askMerchants(l.merchants))
	}
	asks = l.intake.ask(asks, u)
	for _, s := range slices.Sorted(maps.Keys(l.ids)) {
		asks = append(asks, u.askIDs(s, l.ids[s]))
	}
	asks = want(asks, &u.accounts, l.accounts)
	if len(l.permits) > 0 {
		asks = append(asks, u.tx.AskPermits(l.permits)...)
	}
	if u.j.lists && len(l.addressed) > 0 {
		asks = append(asks, u.askTried(l.addressed, l.macs))
	}
	u.load(asks...)
}

// want adds an Ask for the rows that are not loaded yet, each once.
func want[T any](asks []Ask, s *entities[T], keys []int64) []Ask {
	var missing []int64
	seen := make(map[int64]bool, len(keys))
	for _, k := range keys {
		if _, ok := s.byKey[k]; !ok && !seen[k] && k != 0 {
			seen[k] = true
			missing = append(missing, k)
		}
	}
	if len(missing) == 0 {
		return asks
	}
	return append(asks, s.ask(missing))
}

// stampOrNow returns the database's time of an instant, and now for the zero time.
func (u *Unit) stampOrNow(at time.Time) int64 {
	if at.IsZero() {
		return u.now
	}
	return u.clock.Stamp(at)
}
