package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
)

// A database implements [steps.Database] for a journal.
type database struct{ j *Journal }

// Write runs a step in the writer.
func (d database) Write(ctx context.Context, r *steps.Request) error {
	if d.j.beside && r.Beside {
		return d.j.writeBeside(ctx, r)
	}
	return d.j.submit(ctx, r)
}

func (j *Journal) writeBeside(ctx context.Context, r *steps.Request) error {
	if j.closed.Load() {
		return journal.ErrClosed
	}
	errs := make([]error, 1)
	err := j.bounded(ctx, func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, j.readers, atLevel, func(tx pgx.Tx) error {
			errs[0] = nil
			t := &stepTx{batch: newBatch(j, tx.Conn()), ctx: ctx, texts: rowTexts{make(rows.Statements)}}
			t.now = j.clock.Now()
			if err := j.Run(t, []*steps.Request{r}, errs); err != nil || errs[0] != nil {
				return cmp.Or(errs[0], err)
			}
			if t.signals.Intents {
				t.queue("notifying of an intent", "SELECT pg_notify($1, $2)", []any{j.channel, "0 i"})
			}
			t.sendOutbox()
			return t.roundTrip(&pgx.Batch{}, nil)
		})
	})
	switch {
	case errs[0] != nil:
		return errs[0]
	case err != nil:
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Read passes the rows of a query to each.
func (d database) Read(ctx context.Context, q steps.Query, args []any, each func(columns []string, values []any) error) error {
	return d.j.readColumns(ctx, d.j.texts.Text(q), each, args...)
}

// MayBegin is always nil, because only the server knows how much of the disk is free.
func (d database) MayBegin() error { return nil }

// Clock returns the journal's clock.
func (d database) Clock() steps.Clock { return d.j.clock }

// Writable fails beside a worker.
func (d database) Writable() error {
	if d.j.beside {
		return journal.ErrReadOnly
	}
	return nil
}

// EndLeasesOfDead ends the leases of replicas whose session is gone.
func (d database) EndLeasesOfDead(ctx context.Context) error {
	if d.j.beside || d.j.closed.Load() {
		return nil
	}
	if err := d.j.session.endDeadLeases(ctx, false); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Exclusive is false: replicas share the database.
func (d database) Exclusive() bool { return false }

// CircuitTimes returns the instants that were set or returned before, if the circuit breaker has not
// changed.
func (d database) CircuitTimes(a *rows.Account) (until, since time.Time) {
	return d.j.circuits.instants(a.ID, a.CircuitUntil, a.CircuitSince, d.j.clock)
}

// Scrub does nothing: VACUUM FULL locks whole tables, and is for the operator.
func (d database) Scrub(context.Context) (bool, error) { return false, nil }

// LeaseTerm returns the last term that this process acquired. The database knows which
// process holds the lease now.
func (d database) LeaseTerm() (int64, bool) { return d.j.term.Load(), true }

// A stepTx implements [steps.Tx]. Saved rows are sent to the database with the next
// query, or with the commit.
type stepTx struct {
	*batch
	ctx     context.Context
	texts   rowTexts
	opening *opening // until the first round trip
}

// A statement waits for the next round trip.
type statement struct {
	what   string
	sql    string
	args   []any
	onZero error // what a division by zero in it means, nil for nothing
}

var (
	errMissing = errors.New("some of the rows do not exist")
	// errTaken reports that another replica took permits since they were counted.
	errTaken = errors.New("other workers have taken the permits")
)

// wrong describes the error of a statement.
func (s statement) wrong(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "22012" && s.onZero != nil {
		return fmt.Errorf("%s: %w", s.what, s.onZero)
	}
	return fmt.Errorf("%s: %w", s.what, err)
}

// Now begins the transaction if no query has.
func (t *stepTx) Now() (int64, error) {
	if t.opening != nil {
		if err := t.roundTrip(&pgx.Batch{}, nil); err != nil {
			return 0, err
		}
	}
	return t.now, nil
}

// roundTrip sends the waiting statements and more in one round trip. It calls answers with
// the result of each statement of more.
func (t *stepTx) roundTrip(more *pgx.Batch, answers func(i int, r pgx.Rows) error) error {
	var all pgx.Batch
	if t.opening != nil {
		all.QueuedQueries = append(all.QueuedQueries, t.opening.QueuedQueries...)
		t.opening.before = t.j.clock.now()
	}
	for _, l := range t.queued {
		all.Queue(l.sql, l.args...)
	}
	all.QueuedQueries = append(all.QueuedQueries, more.QueuedQueries...)
	if all.Len() == 0 {
		return nil
	}
	t.j.trips.Add(1)
	t.j.statements.Add(int64(all.Len()))
	growBuffer(t.conn, &all)
	results := t.conn.SendBatch(t.ctx, &all)
	var err error
	if o := t.opening; o != nil {
		t.opening = nil
		err = o.read(t.batch, results)
	}
	if err == nil {
		err = t.answers(results, more.Len(), answers)
	}
	if e := results.Close(); err == nil && e != nil {
		err = e
	}
	t.queued = t.queued[:0]
	if err != nil {
		return fmt.Errorf("%w: %w", errTransaction, err)
	}
	return nil
}

func (t *stepTx) answers(results pgx.BatchResults, more int, answers func(i int, r pgx.Rows) error) error {
	for _, l := range t.queued {
		if _, err := results.Exec(); err != nil {
			return l.wrong(err)
		}
	}
	for i := range more {
		r, err := results.Query()
		if err == nil {
			err = answers(i, r)
			r.Close()
		}
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *stepTx) Load(asks []steps.Ask) error {
	var b pgx.Batch
	of := make([]*steps.Ask, 0, len(asks)) // of each statement
	for i := range asks {
		a := &asks[i]
		switch {
		case a.Series == steps.OutboxIDs && a.N > 0:
			if err := t.outbox.promise(a); err != nil {
				return err
			}
			continue
		case a.N > 0:
			b.Queue("SELECT nextval($1::regclass) AS id FROM generate_series(1, $2::bigint)", sequence(a.Series), int64(a.N))
		case a.Table != nil:
			keys := slices.Clone(a.Keys)
			slices.Sort(keys)
			sql := t.texts.find(a.Table)
			b.Queue(sql, keys)
			t.sendOutboxBefore(sql)
		default:
			sql := t.j.texts.Text(a.Query)
			b.Queue(sql, arguments(a.Args)...)
			t.sendOutboxBefore(sql)
		}
		of = append(of, a)
	}
	return t.roundTrip(&b, func(i int, r pgx.Rows) error {
		a := of[i]
		if a.Table == nil {
			return eachRow(r, a.Each)
		}
		for r.Next() {
			row := a.Table.New()
			if err := fill(a.Table, row, r); err != nil {
				return err
			}
			if err := a.Row(row); err != nil {
				return err
			}
		}
		return r.Err()
	})
}

// eachRow passes rows to f, with the names of their columns.
func eachRow(r pgx.Rows, f func(columns []string, values []any) error) error {
	var columns []string
	for r.Next() {
		if columns == nil {
			for _, d := range r.FieldDescriptions() {
				columns = append(columns, d.Name)
			}
		}
		values, err := r.Values()
		if err != nil {
			return err
		}
		if err := f(columns, values); err != nil {
			return err
		}
	}
	return r.Err()
}

// arguments converts ints to 64 bits.
func arguments(args []any) []any {
	for i, a := range args {
		if n, ok := a.(int); ok {
			args[i] = int64(n)
		}
	}
	return args
}

func (t *stepTx) Save(changes []steps.Change) error {
	for _, c := range changes {
		t.wrote = true
		x := c.Table
		if len(c.Insert) > 0 {
			t.j.inserted.Add(int64(len(c.Insert)))
			sortRows(x, c.Insert)
			t.save(x, "inserting into "+x.Name, t.texts.insert(x), arrays(x, c.Insert, x.Inserted()))
		}
		if len(c.Update) > 0 {
			list, columns := make([]any, len(c.Update)), x.Keys()
			for i, u := range c.Update {
				list[i] = u.Row
				columns |= u.Columns
			}
			sortRows(x, list)
			t.save(x, "updating "+x.Name, t.texts.update(x, columns), arrays(x, list, columns))
		}
		if len(c.Delete) > 0 {
			sortRows(x, c.Delete)
			t.save(x, "deleting from "+x.Name, t.texts.drop(x), arrays(x, c.Delete, x.Keys()))
		}
	}
	return nil
}

func (b *batch) queue(what, sql string, args []any) {
	b.queued = append(b.queued, statement{what: what, sql: sql, args: args, onZero: errMissing})
}

// sortRows sorts rows by their keys, so that all replicas write in one order. Rows whose
// keys the database assigns keep their order.
func sortRows(x *rows.Table, list []any) {
	slices.SortStableFunc(list, func(a, b any) int {
		for i, c := range x.Columns {
			if !c.Key {
				continue
			}
			var n int
			switch c.Kind {
			case rows.Integer:
				n = cmp.Compare(x.Int(a, i), x.Int(b, i))
			case rows.Text:
				n = strings.Compare(x.Str(a, i), x.Str(b, i))
			case rows.Blob:
				n = bytes.Compare(x.Bytes(a, i), x.Bytes(b, i))
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
}

func (t *stepTx) Exec(q steps.Query, args ...any) (int64, error) {
	var b pgx.Batch
	sql := t.j.texts.Text(q)
	b.Queue(sql, arguments(args)...)
	t.sendOutboxBefore(sql)
	n := int64(0)
	err := t.roundTrip(&b, func(_ int, r pgx.Rows) error {
		r.Close()
		n = r.CommandTag().RowsAffected()
		return r.Err()
	})
	t.wrote = t.wrote || n > 0
	return n, err
}

// sequence returns the name of the sequence of a series.
func sequence(s steps.Series) string {
	switch s {
	case steps.EventIDs:
		return "event_id"
	case steps.AttemptIDs:
		return "attempt_id"
	case steps.OutboxIDs:
		return "outbox_row"
	}
	return ""
}

func (t *stepTx) Later(q steps.Query, args ...any) error {
	t.wrote = true
	t.queue(first(string(q)), t.j.texts.Text(q), arguments(args))
	return nil
}

// value runs a statement now and returns the first column of its row.
func (t *stepTx) value(sql string, args ...any) (value any, err error) {
	var b pgx.Batch
	b.Queue(sql, args...)
	err = t.roundTrip(&b, func(_ int, r pgx.Rows) error {
		return eachRow(r, func(_ []string, values []any) error {
			value = values[0]
			return nil
		})
	})
	return value, err
}

func (t *stepTx) Last(s steps.Series) (int64, error) {
	value, err := t.value("SELECT coalesce(pg_sequence_last_value($1::regclass), 0)", sequence(s))
	id, _ := value.(int64)
	return id, err
}

func (t *stepTx) AccountName(id int64) string { return t.j.names[id] }

func (t *stepTx) ShopOf(operation int64) (int64, bool) {
	f, ok := t.j.facts[operation]
	return f.shop, ok
}

func (t *stepTx) Shop(k journal.ShopKey) (shop, account int64, ok bool) {
	shop, ok = t.j.shops[k]
	return shop, t.j.accounts[k.Account], ok
}

// MakeShop finds a shop; prepare has inserted it before the transaction if it was new.
func (t *stepTx) MakeShop(k journal.ShopKey) (int64, *rows.Shop, error) {
	id, ok := t.j.shops[k]
	if !ok {
		return 0, nil, fmt.Errorf("journal: shop %q of account %q was not made", k.Shop, k.Account)
	}
	return id, nil, nil
}

func (t *stepTx) Invited(k journal.ShopKey) (int64, error) { return t.invited[k], nil }

// Replica returns the number of this process.
func (t *stepTx) Replica() int64 { return t.j.session.number() }

// Opened returns 0, because processes that seem to be gone may still be running.
func (t *stepTx) Opened() (first, at int64) { return 0, 0 }

// LostCommits reports whether a standby took over that lacks commits.
func (t *stepTx) LostCommits() bool { return t.j.pulse.lost.Load() }

func (t *stepTx) KeepOperation(o *rows.Operation, shop journal.ShopKey) {
	id, f := o.ID, facts{account: o.Account, shop: o.Shop, kind: o.Kind, key: shop}
	t.after = append(t.after, func() { t.j.facts[id] = f })
}

func (t *stepTx) KeepCircuit(a *rows.Account, g journal.Circuit) {
	at := circuitTime{storedUntil: a.CircuitUntil, storedSince: a.CircuitSince, until: g.Until, since: g.Since}
	id := a.ID
	t.after = append(t.after, func() { t.j.circuits.keep(id, at) })
}

func (t *stepTx) AccountID(name string) (int64, bool) {
	id, ok := t.j.accounts[name]
	return id, ok
}

func (t *stepTx) KeepAccount(id int64, name string) {
	t.after = append(t.after, func() { t.j.accounts[name], t.j.names[id] = id, name })
}

// LockAudit queues the lock in front of the next query.
func (t *stepTx) LockAudit() {
	t.queue("locking the audit trail", "SELECT pg_advisory_xact_lock($1, $2)", []any{t.j.lockKey, int32(lockAudit)})
}

func (t *stepTx) LockPruning() (bool, error) {
	value, err := t.value("SELECT pg_try_advisory_xact_lock($1, $2)", t.j.lockKey, int32(lockPrune))
	alone, _ := value.(bool)
	return alone, err
}

func (t *stepTx) After(f func()) { t.after = append(t.after, f) }

// BeginRecovery searches for other replicas under a lock. A process that opens the journal
// registers as a replica first, and then reads the mark of the recovery under the same
// lock.
func (t *stepTx) BeginRecovery() (alone bool, err error) {
	t.queue("locking the replicas", "SELECT pg_advisory_xact_lock($1, $2)", []any{t.j.lockKey, int32(lockDuty)})
	others, err := t.value("SELECT count(*) FROM (SELECT id FROM replica WHERE id <> $2 OFFSET 0) x WHERE NOT pg_try_advisory_xact_lock($1, x.id::int)", t.j.lockKey, t.j.session.number())
	alone = others == int64(0)
	if err == nil && alone {
		t.After(func() { t.j.recovers.Store(true) })
	}
	return alone, err
}

// EndRecovery deletes the pulses of all other processes, so that they are refused.
func (t *stepTx) EndRecovery(identity uuid.UUID) error {
	t.wrote = true
	t.queue("deleting from pulse", "DELETE FROM pulse WHERE process <> $1", []any{t.j.pulse.process[:]})
	t.After(func() {
		t.j.recovers.Store(false)
		t.j.known.Store(&identity)
	})
	return nil
}

// HistoryUnknown has the ledgers counted again, because a count reads that fact.
func (t *stepTx) HistoryUnknown() { t.j.counts.forget() }

// FloorRaised does nothing, because shops are inserted with the floor in the database.
func (t *stepTx) FloorRaised(int64) {}

func (t *stepTx) Signal(s steps.Signals) { t.signals = t.signals.Or(s) }

// rowTexts builds the statements over many rows of a table.
type rowTexts struct{ rows.Statements }

// find selects rows and locks them in the order of their keys, unless they never change.
func (m rowTexts) find(x *rows.Table) string {
	return m.Made(rows.Statement{Table: x, Does: 'f'}, func() string {
		key := x.Columns[0].Name
		sql := "SELECT " + strings.Join(x.Names(), ", ") + " FROM " + x.Name + " WHERE " + key + " = ANY($1)"
		if !x.Changes() {
			return sql
		}
		return sql + " ORDER BY " + key + " FOR NO KEY UPDATE"
	})
}

// arraysAsTable returns the arrays of a mask as a table x, and its columns, with NULL for
// zero values of nullable columns.
func arraysAsTable(x *rows.Table, mask uint64) (from string, columns []string) {
	var arrays, names []string
	for i, c := range x.Columns {
		if mask&(1<<i) == 0 {
			columns = append(columns, "")
			continue
		}
		names = append(names, c.Name)
		typ, value := "bigint", "x."+c.Name
		switch c.Kind {
		case rows.Integer:
			if c.Null {
				value = "nullif(x." + c.Name + ", 0)"
			}
		case rows.Text:
			typ = "text"
			if c.Null {
				value = "nullif(x." + c.Name + ", '')"
			}
		case rows.Blob:
			typ = "bytea"
		}
		if hasOutboxID(x, c) {
			value = realOutboxID(value)
		}
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", len(names), typ))
		columns = append(columns, value)
	}
	return "unnest(" + strings.Join(arrays, ", ") + ") AS x(" + strings.Join(names, ", ") + ")", columns
}

func (m rowTexts) insert(x *rows.Table) string {
	return m.Made(rows.Statement{Table: x, Does: 'i'}, func() string {
		from, columns := arraysAsTable(x, x.Inserted())
		var to, values []string
		for i, c := range x.Columns {
			if columns[i] != "" {
				to, values = append(to, c.Name), append(values, columns[i])
			}
		}
		return "INSERT INTO " + x.Name + " (" + strings.Join(to, ", ") + ") SELECT " + strings.Join(values, ", ") + " FROM " + from
	})
}

func (m rowTexts) update(x *rows.Table, mask uint64) string {
	return m.Made(rows.Statement{Table: x, Does: 'u', Columns: mask}, func() string {
		from, columns := arraysAsTable(x, mask)
		var to []string
		for i, c := range x.Columns {
			if columns[i] != "" && !c.Key {
				to = append(to, c.Name+" = "+columns[i])
			}
		}
		return exactly("UPDATE " + x.Name + " SET " + strings.Join(to, ", ") + " FROM " + from + " WHERE " + sameKeys(x))
	})
}

func (m rowTexts) drop(x *rows.Table) string {
	return m.Made(rows.Statement{Table: x, Does: 'd'}, func() string {
		from, _ := arraysAsTable(x, x.Keys())
		return exactly("DELETE FROM " + x.Name + " USING " + from + " WHERE " + sameKeys(x))
	})
}

// exactly makes a statement divide by zero if it does not change one row for each element
// of its arrays. COMMIT is sent together with the statement, so that a check of the result
// would come too late.
func exactly(sql string) string {
	return "WITH changed AS (" + sql + " RETURNING 1) SELECT 1 / (count(*) = cardinality($1))::int FROM changed"
}

// one is exactly for a statement that changes one row.
func one(sql string) string {
	return "WITH changed AS (" + sql + " RETURNING 1) SELECT 1 / count(*) FROM changed"
}

func sameKeys(x *rows.Table) string {
	var where []string
	for _, c := range x.Columns {
		if c.Key && hasOutboxID(x, c) {
			where = append(where, x.Name+"."+c.Name+" = "+realOutboxID("x."+c.Name))
		} else if c.Key {
			where = append(where, x.Name+"."+c.Name+" = x."+c.Name)
		}
	}
	return strings.Join(where, " AND ")
}
