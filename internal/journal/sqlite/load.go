package sqlite

import (
	"errors"
	"hash/maphash"
	"strconv"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// ids are the next ids of the tables that the writer fills. They are assigned before the
// rows are written, so that rows can name each other; an unused id leaves a gap.
type ids struct {
	shop, event, attempt, out int64
}

func next(id *int64) int64 {
	n := *id
	*id++
	return n
}

// load reads what the writer caches in memory, and ends the leases of earlier processes.
func (w *writer) load(j *Journal) error {
	c := w.conn
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := w.loadIn(j); err != nil {
		_, e := c.exec("ROLLBACK")
		return errors.Join(err, e)
	}
	commits, err := j.count(c)
	if err == nil {
		_, err = c.exec("COMMIT")
	}
	if err == nil {
		j.committed(commits)
	}
	return err
}

func (w *writer) loadIn(j *Journal) error {
	c, now := w.conn, j.clock.Now()
	r, err := c.one("SELECT value FROM meta WHERE name = 'identity'")
	if err != nil {
		return err
	}
	if r == nil {
		j.identity = uuid.New()
		if _, err := c.exec("INSERT INTO meta (name, value) VALUES ('identity', ?), ('created', ?)",
			j.identity[:], []byte(strconv.FormatInt(now, 10))); err != nil {
			return err
		}
	} else if j.identity, err = uuid.FromBytes(r.blob(0)); err != nil {
		return errors.New("the journal's identity is damaged")
	}
	if r, err = c.one("SELECT value FROM meta WHERE name = 'origin'"); err != nil {
		return err
	}
	j.origin = j.identity
	if r != nil {
		if j.origin, err = uuid.FromBytes(r.blob(0)); err != nil {
			return errors.New("the journal's origin is damaged")
		}
	}
	unknown, err := w.loadMarks(j, now)
	if err != nil {
		return err
	}
	// Leases are ended before waits are bounded, which then count from now.
	for _, q := range steps.EndLeases() {
		if _, err := c.exec(q.SQLite(), now, "[0]"); err != nil {
			return err
		}
	}
	for _, q := range steps.BoundTimes() {
		if _, err := c.exec(q.SQLite(), now); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		id    *int64
		query string
	}{
		{&w.ids.shop, "SELECT max(id) FROM shop"},
		{&w.ids.event, "SELECT max(coalesce((SELECT max(id) FROM event), 0), coalesce((SELECT max(id) FROM operation), 0))"},
		{&w.ids.attempt, "SELECT max(id) FROM attempt"},
		{&w.ids.out, "SELECT max(coalesce((SELECT max(id) FROM outbox), 0), coalesce((SELECT max(again) FROM outbox), 0), coalesce((SELECT max(row) FROM outbox_pending), 0))"},
	} {
		r, err := c.one(x.query)
		if err != nil {
			return err
		}
		*x.id = r.int(0) + 1
	}
	if w.floor, err = numberFact(c, "floor"); err != nil {
		return err
	}
	w.names = make(map[int64]string)
	for _, x := range []struct {
		to    *map[string]int64
		query string
	}{
		{&w.accounts, "SELECT id, name FROM account"},
		{&w.ledgerID, "SELECT id, name FROM ledger"},
	} {
		*x.to = make(map[string]int64)
		if err := c.each(x.query, nil, func(r row) error {
			(*x.to)[r.text(1)] = r.int(0)
			return nil
		}); err != nil {
			return err
		}
	}
	for name, id := range w.accounts {
		w.names[id] = name
	}
	w.facts = make(map[int64]facts)
	w.seed, w.invitees = maphash.MakeSeed(), make(invitees)
	if err := c.each(`SELECT o.account, s.name FROM operation o INDEXED BY operation_lane JOIN shop s ON s.id = o.shop
			WHERE o.lane IS NOT NULL AND o.kind = ? UNION ALL
		SELECT account, name FROM shop INDEXED BY shop_remind WHERE remind_due IS NOT NULL`, in{int64(journal.Invite)}, func(r row) error {
		w.invitees.add(w.hash(journal.ShopKey{Account: w.names[r.int(0)], Shop: r.text(1)}), 1)
		return nil
	}); err != nil {
		return err
	}
	w.ledgers = ledgers{byName: make(map[string]*ledger), byID: make(map[int64]*ledger), opened: now, unknown: unknown}
	w.firstAttempt = w.ids.attempt
	return nil
}

// intern returns the small number of a name, and assigns one to a new name.
func (t *tx) intern(known map[string]int64, table, name string) (int64, error) {
	if id, ok := known[name]; ok {
		return id, nil
	}
	r, err := t.change("INSERT INTO "+table+" (name) VALUES (?) RETURNING id", name)
	if err != nil {
		return 0, err
	}
	id := r.int(0)
	known[name] = id
	t.undo = append(t.undo, func() { delete(known, name) })
	return id, nil
}
