package sqlite

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	sqlite3 "modernc.org/sqlite/lib"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
)

// Write runs a step in the writer.
func (d database) Write(ctx context.Context, r *steps.Request) error {
	if d.j.writer == nil && r.Beside {
		return d.j.writeBeside(ctx, r)
	}
	return d.j.put(ctx, r)
}

func (j *Journal) writeBeside(ctx context.Context, r *steps.Request) error {
	if err := j.open(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return j.beside(func(c *conn) error {
		t := &tx{j: j}
		t.reset(c, j.clock.Now())
		errs := make([]error, 1)
		if err := j.Run(stepTx{t, rowTexts{make(rows.Statements)}}, []*steps.Request{r}, errs); err != nil && errs[0] == nil {
			return err
		}
		return errs[0]
	})
}

// Read passes the rows of a query to each.
func (d database) Read(ctx context.Context, q steps.Query, args []any, each func(columns []string, values []any) error) error {
	return d.j.readColumns(ctx, d.j.texts.Text(q), arguments(args), each)
}

// MayBegin fails if only the reserve of the disk is left.
func (d database) MayBegin() error { return d.j.space.enough() }

// Clock returns the journal's clock.
func (d database) Clock() steps.Clock { return d.j.clock }

// Writable fails beside a worker.
func (d database) Writable() error {
	if err := d.j.open(); err != nil {
		return err
	}
	if d.j.writer == nil {
		return journal.ErrReadOnly
	}
	return nil
}

// EndLeasesOfDead has nothing to do: they were ended when this process opened the file.
func (d database) EndLeasesOfDead(context.Context) error { return nil }

// Exclusive is true: one process holds the file.
func (d database) Exclusive() bool { return true }

// CircuitTimes returns the instants as they were set.
func (d database) CircuitTimes(a *rows.Account) (until, since time.Time) {
	if a.CircuitUntil != 0 {
		until = d.j.clock.Instant(a.CircuitUntil)
	}
	if a.CircuitSince != 0 {
		since = d.j.clock.Instant(a.CircuitSince)
	}
	return until, since
}

// LeaseTerm is 0: no other process can acquire the lease.
func (d database) LeaseTerm() (int64, bool) { return 0, d.j.lease.valid() }

// A database implements [steps.Database] for a journal.
type database struct{ j *Journal }

// arguments encodes lists as JSON, which SQLite can read as a table.
func arguments(args []any) in {
	for i, a := range args {
		switch list := a.(type) {
		case []int64:
			args[i] = asJSON(list)
		case []string:
			args[i] = asJSON(list)
		case [][]byte:
			args[i] = hexJSON(list)
		}
	}
	return args
}

// hexJSON encodes a list of bytes in hex, which SQLite's unhex decodes.
func hexJSON(list [][]byte) string {
	b := []byte{'['}
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = hex.AppendEncode(b, e)
		b = append(b, '"')
	}
	return string(append(b, ']'))
}

func asJSON[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	b, err := json.Marshal(list)
	if err != nil { // numbers and texts have a form
		return "[]"
	}
	return string(b)
}

// A stepTx implements [steps.Tx].
type stepTx struct {
	*tx
	texts rowTexts
}

func (t stepTx) Now() (int64, error) { return t.now, nil }

func (t stepTx) Load(asks []steps.Ask) error {
	for _, a := range asks {
		if a.N > 0 {
			values := make([]any, 1)
			for range a.N {
				values[0] = next(t.series(a.Series))
				if err := a.Each(nil, values); err != nil {
					return err
				}
			}
			continue
		}
		if a.Table == nil {
			if err := t.ask(t.j.texts.Text(a.Query), arguments(a.Args), a.Each); err != nil {
				return err
			}
			continue
		}
		for _, key := range a.Keys {
			if err := t.load(a.Table, key, a.Row); err != nil {
				return err
			}
		}
	}
	return nil
}

// load finds a row by its key, in the cache or in the file.
func (t stepTx) load(table *rows.Table, key int64, f func(row any) error) error {
	cache := t.j.writer.rows
	known := cache.find(table, key)
	if known != nil && !t.j.checkRows {
		return f(known)
	}
	return t.each(t.texts.find(table), in{key}, func(r row) error {
		row := table.New()
		if err := r.fill(table, row); err != nil {
			return err
		}
		if known != nil && table.Changed(known, row) != 0 {
			return fmt.Errorf("journal: row %d of table %s is remembered as %+v, and is %+v", key, table.Name, known, row)
		}
		cache.keep(table, key, row)
		return f(row)
	})
}

// ask passes the rows of a statement to f.
func (t stepTx) ask(query string, args in, f func([]string, []any) error) error {
	s, err := t.prepare(query)
	if err != nil {
		return err
	}
	values := make([]any, len(s.columns))
	return t.each(query, args, func(r row) error {
		for i := range r {
			values[i] = r[i].any()
		}
		return f(s.columns, values)
	})
}

func (t stepTx) Save(changes []steps.Change) error {
	for _, c := range changes {
		cached := c.Loaded && c.Table.Changes()
		for _, r := range c.Insert {
			columns := c.Table.Inserted() &^ c.Table.Zero(r)
			if err := t.write(c.Table, t.texts.insert(c.Table, columns), columns, false, r); err != nil {
				return err
			}
			if cached {
				t.cache(c.Table, r)
			}
			if err := t.saved(nil, r); err != nil {
				return err
			}
		}
		for _, u := range c.Update {
			if err := t.write(c.Table, t.texts.update(c.Table, u.Columns), u.Columns, true, u.Row); err != nil {
				return err
			}
			if cached {
				t.cache(c.Table, u.Row)
			}
			if err := t.saved(u.Was, u.Row); err != nil {
				return err
			}
		}
		for _, r := range c.Delete {
			if err := t.write(c.Table, t.texts.drop(c.Table), 0, true, r); err != nil {
				return err
			}
			t.j.writer.rows.change(c.Table, c.Table.Int(r, 0), nil)
		}
	}
	return nil
}

// cache caches a row that was written. A row whose key SQLite assigned is read at its
// first use instead.
func (t stepTx) cache(table *rows.Table, row any) {
	if key := table.Int(row, 0); key != 0 {
		t.j.writer.rows.change(table, key, row)
	}
}

// write runs a statement with the columns of a mask of a row as arguments. If the
// statement finds the row by its key, the key is the last argument.
func (t stepTx) write(table *rows.Table, text string, mask uint64, byKey bool, row any) error {
	s, err := t.prepare(text)
	if err != nil {
		return err
	}
	keys := table.Keys()
	if !byKey {
		keys = 0
	}
	arg := 0
	for _, columns := range []uint64{mask &^ keys, keys} {
		for i := range table.Columns {
			if columns&(1<<i) == 0 {
				continue
			}
			arg++
			if err := s.bindColumn(arg, table, row, i); err != nil {
				return err
			}
		}
	}
	n, err := s.run()
	t.dirty = true
	if err == nil && n != 1 {
		err = fmt.Errorf("journal: a row of table %s was written as %d", table.Name, n)
	}
	return err
}

// bindColumn sets an argument to a column of a row.
func (s *stmt) bindColumn(arg int, t *rows.Table, row any, i int) error {
	switch c := &t.Columns[i]; c.Kind {
	case rows.Text:
		if text := t.Str(row, i); text != "" || !c.Null {
			return s.bindText(arg, text)
		}
	case rows.Blob:
		return s.bindBytes(arg, t.Bytes(row, i))
	default:
		if n := t.Int(row, i); n != 0 || !c.Null {
			return s.bindInt(arg, n)
		}
	}
	return s.bindNull(arg)
}

// fill fills an empty row of a table from all of its columns.
func (r row) fill(t *rows.Table, row any) error {
	if len(r) != len(t.Columns) {
		return fmt.Errorf("journal: table %s has %d columns, not %d", t.Name, len(t.Columns), len(r))
	}
	for i := range r {
		switch v := &r[i]; {
		case v.kind == sqlite3.SQLITE_NULL:
		case v.kind == sqlite3.SQLITE_INTEGER && t.Columns[i].Kind == rows.Integer:
			t.SetInt(row, i, v.n)
		case v.kind == sqlite3.SQLITE_TEXT && t.Columns[i].Kind == rows.Text:
			t.SetStr(row, i, v.text)
		case v.kind == sqlite3.SQLITE_BLOB && t.Columns[i].Kind == rows.Blob:
			t.SetBytes(row, i, v.blob)
		default:
			return fmt.Errorf("journal: %s.%s has a value of type %d", t.Name, t.Columns[i].Name, v.kind)
		}
	}
	return nil
}

// Exec runs a statement and drops the cached rows of the table that it writes to.
func (t stepTx) Exec(q steps.Query, args ...any) (int64, error) {
	text := t.j.texts.Text(q)
	table := targetTable(text)
	if table == "" || t.j.writer == nil { // it is nil beside a worker
		return t.exec(text, arguments(args)...)
	}
	n, err := t.conn.exec(text, arguments(args)...)
	if n > 0 || err != nil {
		t.dirty = true
		t.j.writer.rows.clearTable(table)
		if table == "dead_letter" {
			t.j.RecountLetters()
		}
	}
	return n, err
}

// targetTable returns the table that a statement writes to, "" if it is not recognized.
func targetTable(text string) string {
	for _, verb := range []string{"UPDATE ", "DELETE FROM ", "INSERT INTO "} {
		if rest, ok := strings.CutPrefix(text, verb); ok {
			table, _, _ := strings.Cut(rest, " ")
			return table
		}
	}
	return ""
}

func (t stepTx) series(s steps.Series) *int64 {
	ids := &t.j.writer.ids
	return map[steps.Series]*int64{steps.EventIDs: &ids.event, steps.AttemptIDs: &ids.attempt, steps.OutboxIDs: &ids.out}[s]
}

func (t stepTx) Later(q steps.Query, args ...any) error {
	_, err := t.Exec(q, args...)
	return err
}

func (t stepTx) Last(s steps.Series) (int64, error) { return *t.series(s) - 1, nil }

func (t stepTx) AccountName(id int64) string { return t.j.writer.names[id] }

func (t stepTx) ShopOf(operation int64) (int64, bool) {
	f, ok := t.j.writer.facts[operation]
	return f.shop, ok
}

// Shop is for databases that insert shops before the transaction.
func (t stepTx) Shop(journal.ShopKey) (shop, account int64, ok bool) { return 0, 0, false }

// MakeShop finds a shop and caches its name for the rest of the transaction.
func (t stepTx) MakeShop(k journal.ShopKey) (int64, *rows.Shop, error) {
	account := t.j.writer.accounts[k.Account]
	r, err := t.one("SELECT id FROM shop WHERE account = ? AND name = ?", account, k.Shop)
	if err != nil {
		return 0, nil, err
	}
	if r != nil {
		t.shops[r.int(0)] = k
		return r.int(0), nil, nil
	}
	floor := t.j.writer.floor
	made := &rows.Shop{ID: next(&t.j.writer.ids.shop), Account: account, Name: k.Shop, Sequence: floor, Version: floor}
	t.shops[made.ID] = k
	return made.ID, made, nil
}

// Invited queries the database only if a shop with the same hash has an open invitation,
// or is to be reminded of one.
func (t stepTx) Invited(k journal.ShopKey) (int64, error) {
	if t.j.writer.invitees[t.j.writer.hash(k)] == 0 {
		return 0, nil
	}
	r, err := t.one("SELECT id FROM shop WHERE account = ? AND name = ?", t.j.writer.accounts[k.Account], k.Shop)
	if err != nil || r == nil {
		return 0, err
	}
	return r.int(0), nil
}

// Replica is 0, because there is no other.
func (t stepTx) Replica() int64 { return 0 }

// Opened returns when this process opened the file: since then earlier processes cannot
// send.
func (t stepTx) Opened() (first, at int64) {
	return t.j.writer.firstAttempt, t.j.writer.ledgers.opened
}

// LostCommits is false, because a file that lacks commits is not opened.
func (t stepTx) LostCommits() bool { return false }

func (t stepTx) KeepOperation(o *rows.Operation, shop journal.ShopKey) {
	t.keepFacts(o.ID, facts{account: o.Account, shop: o.Shop, kind: o.Kind, key: shop})
}

// KeepCircuit does nothing, because CircuitTimes returns the instants as they were set.
func (t stepTx) KeepCircuit(*rows.Account, journal.Circuit) {}

func (t stepTx) AccountID(name string) (int64, bool) {
	id, ok := t.j.writer.accounts[name]
	return id, ok
}

func (t stepTx) KeepAccount(id int64, name string) {
	w := t.j.writer
	if _, ok := w.accounts[name]; ok {
		return
	}
	w.accounts[name], w.names[id] = id, name
	t.undo = append(t.undo, func() {
		delete(w.accounts, name)
		delete(w.names, id)
	})
}

// LockAudit has nothing to do: a transaction that writes excludes all others.
func (t stepTx) LockAudit() {}

// LockPruning is true, because one process holds the file.
func (t stepTx) LockPruning() (bool, error) { return true, nil }

func (t stepTx) After(f func()) { t.after = append(t.after, f) }

// BeginRecovery and EndRecovery do nothing, because one process holds the file.
func (t stepTx) BeginRecovery() (bool, error) { return true, nil }

func (t stepTx) EndRecovery(uuid.UUID) error { return nil }

func (t stepTx) HistoryUnknown() {
	ls := &t.j.writer.ledgers
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.unknown = t.now
	for _, l := range ls.byName {
		l.usedUp(t.now + l.slack.Microseconds())
	}
}

func (t stepTx) FloorRaised(floor int64) {
	w := t.j.writer
	was := w.floor
	w.floor = floor
	t.undo = append(t.undo, func() { w.floor = was })
}

func (t stepTx) Signal(s steps.Signals) { t.signals = t.signals.Or(s) }

// saved updates memory for a saved row: the open invitations, the shops to be reminded
// of one, and the cached columns of operations.
func (t stepTx) saved(was, is any) error {
	if s, ok := is.(*rows.Shop); ok {
		before, _ := was.(*rows.Shop)
		if reminded := before != nil && before.RemindDue != 0; reminded != (s.RemindDue != 0) {
			t.invitation(journal.ShopKey{Account: t.j.writer.names[s.Account], Shop: s.Name}, s.RemindDue != 0)
		}
	}
	if r, ok := is.(*rows.Operation); ok {
		before, _ := was.(*rows.Operation)
		opened := before != nil && before.State.Open()
		if r.Kind == journal.Invite && opened != r.State.Open() {
			k, ok := t.shops[r.Shop]
			if !ok {
				f, err := t.facts(r.ID)
				if err != nil {
					return err
				}
				k = f.key
			}
			t.invitation(k, r.State.Open())
		}
		if !r.State.Open() {
			delete(t.j.writer.facts, r.ID)
		}
	}
	return nil
}

// rowTexts builds the statements over rows by their keys. The arguments are the columns
// of the mask, in the order of the table.
type rowTexts struct{ rows.Statements }

func (m rowTexts) find(t *rows.Table) string {
	return m.Made(rows.Statement{Table: t, Does: 'f'}, func() string {
		return "SELECT " + strings.Join(t.Names(), ", ") + " FROM " + t.Name + " WHERE " + t.Columns[0].Name + " = ?"
	})
}

// insert has an argument for each column of the mask. The other columns are zero and are
// literals in the text, because arguments cost more.
func (m rowTexts) insert(t *rows.Table, columns uint64) string {
	return m.Made(rows.Statement{Table: t, Does: 'i', Columns: columns}, func() string {
		var names, values []string
		for i, c := range t.Columns {
			if c.Auto {
				continue
			}
			value := "?"
			switch {
			case columns&(1<<i) != 0:
			case c.Null || c.Kind == rows.Blob:
				value = "NULL"
			case c.Kind == rows.Text:
				value = "''"
			default:
				value = "0"
			}
			names, values = append(names, c.Name), append(values, value)
		}
		return "INSERT INTO " + t.Name + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")"
	})
}

func (m rowTexts) update(t *rows.Table, columns uint64) string {
	return m.Made(rows.Statement{Table: t, Does: 'u', Columns: columns}, func() string {
		var to []string
		for i, c := range t.Columns {
			if columns&(1<<i) != 0 && !c.Key {
				to = append(to, c.Name+" = ?")
			}
		}
		return "UPDATE " + t.Name + " SET " + strings.Join(to, ", ") + whereKeys(t)
	})
}

func whereKeys(t *rows.Table) string {
	var where []string
	for _, c := range t.Columns {
		if c.Key {
			where = append(where, c.Name+" = ?")
		}
	}
	return " WHERE " + strings.Join(where, " AND ")
}

func (m rowTexts) drop(t *rows.Table) string {
	return m.Made(rows.Statement{Table: t, Does: 'd'}, func() string { return "DELETE FROM " + t.Name + whereKeys(t) })
}
