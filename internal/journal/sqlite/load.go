package sqlite

import (
	"errors"
	"hash/maphash"
	"strconv"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// ids are the next ids of the tables that the writer fills. They are known
// before the rows are written, so that rows can name each other; one that is
// not used leaves a gap.
type ids struct {
	shop, event, attempt, out int64
}

func next(id *int64) int64 {
	n := *id
	*id++
	return n
}

// load reads what the writer keeps in memory and ends what earlier processes
// began.
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
	c, now := w.conn, j.clock.micros()
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
	if err := endLeases(c, now); err != nil {
		return err
	}
	if err := openReviews(c, now); err != nil {
		return err
	}
	// A clock that went back since a gate closed makes that moment the present one.
	if _, err := c.exec("UPDATE account SET closed_since = ? WHERE closed_since > ?", now, now); err != nil {
		return err
	}
	for _, x := range []struct {
		id    *int64
		query string
	}{
		{&w.ids.shop, "SELECT max(id) FROM shop"},
		{&w.ids.event, "SELECT max(coalesce((SELECT max(id) FROM event), 0), coalesce((SELECT max(id) FROM operation), 0))"},
		{&w.ids.attempt, "SELECT max(coalesce((SELECT max(id) FROM attempt), 0), coalesce((SELECT max(attempt) FROM receipt), 0))"},
		{&w.ids.out, "SELECT max(coalesce((SELECT max(id) FROM outbox), 0), coalesce((SELECT max(again) FROM outbox), 0), coalesce((SELECT max(row) FROM outbox_pending), 0))"},
	} {
		r, err := c.one(x.query)
		if err != nil {
			return err
		}
		*x.id = r.int(0) + 1
	}
	if w.floor, err = metaNumber(c, "floor"); err != nil {
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
		WHERE o.lane IS NOT NULL AND o.kind = ?`, in{int64(journal.Invite)}, func(r row) error {
		w.invitees.add(w.hash(journal.ShopKey{Account: w.names[r.int(0)], Shop: r.text(1)}), 1)
		return nil
	}); err != nil {
		return err
	}
	w.ledgers = ledgers{byName: make(map[string]*ledger), byID: make(map[int64]*ledger), opened: now, unknown: unknown}
	w.firstAttempt = w.ids.attempt
	return nil
}

// endLeases ends what processes before this one had claimed. An unknown one
// that waits for its quiet period, and a stored one that waits for its next
// check, were not leased and stay due when they were.
func endLeases(c *conn, now int64) error {
	if _, err := c.exec(`UPDATE operation SET state = ?, stage = ?, due_at = ?, changed = ?
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due WHERE due_at IS NOT NULL) AND state = ?`,
		int64(journal.Planned), int64(journal.Call), now, now, int64(journal.Claimed)); err != nil {
		return err
	}
	if _, err := c.exec(`UPDATE operation SET state = ?, stage = ?, due_at = ?, changed = ?, doubt = 1, unknowns = unknowns + 1, leased = 0
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due WHERE due_at IS NOT NULL) AND state = ?`,
		int64(journal.Unknown), int64(journal.Settle), now, now, int64(journal.Sending)); err != nil {
		return err
	}
	if _, err := c.exec(`UPDATE operation SET due_at = min(due_at, ?), leased = 0
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due WHERE due_at IS NOT NULL) AND stage = ? AND leased = 1`,
		now, int64(journal.Settle)); err != nil {
		return err
	}
	return boundWaits(c, now)
}

// boundWaits keeps a clock that went back from putting off what waits: no wait
// is longer than it was when it began, counted from now. How long the secret of
// a stored one has been checked is counted from now too, whatever the clock did.
func boundWaits(c *conn, now int64) error {
	if _, err := c.exec(`UPDATE operation SET due_at = min(due_at, ?1 + max(0, due_at - changed))
		WHERE changed > ?1 AND id IN (SELECT o.id FROM account a, (SELECT 1 AS kind UNION ALL SELECT 2) k, (SELECT 1 AS stage UNION ALL SELECT 2) g
			CROSS JOIN operation o INDEXED BY operation_due ON o.account = a.id AND o.kind = k.kind AND o.stage = g.stage AND o.due_at > ?1)`, now); err != nil {
		return err
	}
	_, err := c.exec(`UPDATE operation SET stored_at = ?1
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due WHERE due_at IS NOT NULL) AND state = ?2`, now, int64(journal.Stored))
	return err
}

// intern gives a name its small number.
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

// openReviews brings reviews over from processes before: what is open is due,
// and since when credentials are refused is counted from now.
func openReviews(c *conn, now int64) error {
	if _, err := c.exec("UPDATE shop SET review_refused = ? WHERE review_refused IS NOT NULL", now); err != nil {
		return err
	}
	_, err := c.exec(`UPDATE shop SET review_due = ? WHERE id IN
		(SELECT s.id FROM account a CROSS JOIN shop s INDEXED BY shop_review ON s.account = a.id AND s.review_routine = 0 AND s.review_due > ?)`, now, now)
	return err
}
