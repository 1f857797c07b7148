package sqlite

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// A forget is how rows of a kind are forgotten. Read gives, above ?1 and by id,
// at most ?2 rows: id, when it was made, whether it may go when it is older than
// ?3, and what else the kind needs. Newest is the highest id that was given out:
// that row stays, because ids go on from it.
type forget struct {
	read, newest string
	run          func(*tx, []row) (int64, error)
}

var forgets = map[journal.Forgettable]forget{
	journal.ForgetOperations:  {operationsOld, "SELECT max(id) FROM operation", (*tx).forgetOperations},
	journal.ForgetAttempts:    {attemptsOld, "SELECT max(id) FROM attempt", (*tx).forgetAttempts},
	journal.ForgetEvents:      {eventsOld, "SELECT max(id) FROM event", (*tx).forgetEvents},
	journal.ForgetResults:     {resultsOld, "SELECT max(id) FROM outbox", (*tx).forgetResults},
	journal.ForgetRepublished: {republishedOld, "SELECT max(row) FROM republish", (*tx).forgetRepublished},
	journal.ForgetIntents:     {intentsOld, "SELECT max(id) FROM intent", (*tx).forgetIntents},
	journal.ForgetDeadLetters: {lettersOld, "SELECT max(id) FROM dead_letter", (*tx).forgetLetters},
}

const (
	operationsOld = `SELECT o.id, b.created, o.kind = 1 AND o.state IN (30, 31) AND o.late = 0 AND o.changed < ?3 AND o.id IS NOT s.invited_operation
			AND EXISTS (SELECT 1 FROM operation_body n WHERE n.key_scope = b.key_scope AND n.kind = b.kind AND n.mac = b.mac AND n.generation > b.generation)
			AND NOT EXISTS (SELECT 1 FROM attempt t WHERE t.operation = o.id AND t.ended IS NULL)
			AND NOT EXISTS (SELECT 1 FROM intent i WHERE i.operation = o.id AND i.state = 1)
		FROM operation o CROSS JOIN operation_body b ON b.id = o.id CROSS JOIN shop s ON s.id = o.shop WHERE o.id > ?1 ORDER BY o.id LIMIT ?2`
	attemptsOld = `SELECT t.id, t.started, t.operation IS NULL OR t.ended < ?3
			AND coalesce((SELECT o.state IN (30, 31) AND o.late = 0 FROM operation o WHERE o.id = t.operation), 1)
			AND NOT EXISTS (SELECT 1 FROM receipt r WHERE r.attempt = t.id)
		FROM attempt t WHERE t.id > ?1 ORDER BY t.id LIMIT ?2`
	eventsOld = `SELECT e.id, e.received, e.received < ?3, NOT EXISTS (SELECT 1 FROM operation o WHERE o.id = e.operation AND o.event = e.id),
			(SELECT p.name FROM topic p WHERE p.id = e.topic), e.source, e.event_id
		FROM event e WHERE e.id > ?1 ORDER BY e.id LIMIT ?2`
	published  = "EXISTS (SELECT 1 FROM outbox_published p WHERE p.outbox = x.id AND p.at < ?3) AND NOT EXISTS (SELECT 1 FROM outbox_pending w WHERE w.row = x.id)"
	resultsOld = `SELECT x.id, x.created, x.shop IS NOT NULL AND ` + published + `
			AND NOT EXISTS (SELECT 1 FROM outbox_pending w INDEXED BY outbox_pending_again WHERE w.outbox = x.id AND w.row <> w.outbox)
			AND coalesce((SELECT o.state IN (30, 31) AND o.late = 0 FROM operation o WHERE o.id = x.operation), 1)
			AND (SELECT s.sequence > x.sequence AND x.event IS NOT s.active_event FROM shop s WHERE s.id = x.shop)
		FROM outbox x WHERE x.id > ?1 ORDER BY x.id LIMIT ?2`
	republishedOld = "SELECT x.row, x.at, x.at < ?3 AND NOT EXISTS (SELECT 1 FROM outbox_pending w WHERE w.row = x.row) FROM republish x WHERE x.row > ?1 ORDER BY x.row LIMIT ?2"
	intentsOld     = "SELECT i.id, i.at, i.state <> 1 AND i.ended < ?3 FROM intent i WHERE i.id > ?1 ORDER BY i.id LIMIT ?2"
	lettersOld     = `SELECT l.id, l.received, coalesce((SELECT ` + published + ` FROM outbox x WHERE x.id = l.outbox), 1) AND l.outbox IS NOT (SELECT max(id) FROM outbox), l.outbox
		FROM dead_letter l WHERE l.id > ?1 ORDER BY l.id LIMIT ?2`
)

// Prune forgets a few rows in one transaction. The file does not shrink: what
// they took is used again.
func (j *Journal) Prune(ctx context.Context, p journal.Prune) (journal.Pruned, error) {
	f, ok := forgets[p.What]
	if !ok {
		return journal.Pruned{}, fmt.Errorf("%w: rows of kind %d to forget", journal.ErrNotFound, p.What)
	}
	p.Limit = bounded(p.Limit)
	return ask(ctx, j, p.Limit, func(t *tx) (journal.Pruned, error) { return t.prune(p, f) })
}

func (t *tx) prune(p journal.Prune, f forget) (got journal.Pruned, err error) {
	at, err := t.pruneTime(p)
	if err != nil {
		return got, err
	}
	before := at - p.Keep.Microseconds()
	r, err := t.one(f.newest)
	if err != nil {
		return got, err
	}
	newest := r.int(0)
	var old []row
	seen, young := 0, false
	if err := t.each(f.read, in{p.After, p.Limit, before}, func(r row) error {
		seen++
		got.Next = r.int(0)
		switch made := r.int(1); {
		case made > t.now: // by a clock that was ahead: nobody knows
		case made >= before:
			young = true // and so is what comes after
		case r.int(2) != 0 && r.int(0) != newest:
			old = append(old, append(row(nil), r...))
		}
		return nil
	}); err != nil {
		return got, err
	}
	if seen < p.Limit || young {
		got.Next = 0
	}
	if len(old) == 0 {
		return got, nil
	}
	n, err := f.run(t, old)
	got.Rows = int(n)
	return got, err
}

// pruneTime is the time by which ages are counted.
func (t *tx) pruneTime(p journal.Prune) (int64, error) {
	was, err := metaNumber(t.conn, "pruning")
	if err != nil {
		return 0, err
	}
	if was == 0 {
		r, err := t.one("SELECT received FROM event WHERE id = (SELECT min(id) FROM event)")
		if err != nil {
			return 0, err
		}
		if was = t.now; r != nil {
			was = min(was, r.int(0))
		}
	}
	if p.Worked <= 0 {
		return min(was, t.now), nil
	}
	at := min(t.now, was+journal.PruneSpeed*p.Worked.Microseconds())
	_, err = t.exec(setMeta, "pruning", decimal(at))
	return at, err
}

// gone runs statements that name a row for each of the rows, and counts what is gone.
func (t *tx) gone(old []row, statements ...string) (n int64, err error) {
	for _, r := range old {
		for _, s := range statements {
			k, err := t.exec(s, r.int(0))
			if err != nil {
				return n, err
			}
			n += k
		}
	}
	return n, nil
}

func (t *tx) forgetOperations(old []row) (int64, error) {
	return t.gone(old, "DELETE FROM attempt WHERE operation = ? AND id < (SELECT max(id) FROM attempt)",
		"DELETE FROM operation_body WHERE id = ?", "DELETE FROM operation WHERE id = ?")
}

func (t *tx) forgetAttempts(old []row) (int64, error) {
	return t.gone(old, "DELETE FROM attempt WHERE id = ?")
}

// forgetEvents finds the inbox's row by what its identity is made of.
func (t *tx) forgetEvents(old []row) (n int64, err error) {
	for _, r := range old {
		identity := schemas.Identity(r.text(4), r.text(5), r.text(6))
		k, err := t.exec("DELETE FROM inbox WHERE identity = ? AND event = ?", identity[:], r.int(0))
		if err != nil {
			return n, err
		}
		n += k
		if r.int(3) == 0 {
			continue
		}
		if k, err = t.exec("DELETE FROM event WHERE id = ?", r.int(0)); err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// endKept keeps what a published event says of where its topic ends.
const endKept = `INSERT INTO published_end (type, part, next_offset) SELECT x.type, p.part, p.record_offset + 1
	FROM outbox_published p JOIN outbox x ON x.id = p.outbox WHERE p.outbox = ? AND p.record_offset >= 0
	ON CONFLICT (type, part) DO UPDATE SET next_offset = max(next_offset, excluded.next_offset)`

func (t *tx) forgetResults(old []row) (n int64, err error) {
	for _, r := range old {
		if _, err := t.exec(endKept, r.int(0)); err != nil {
			return n, err
		}
	}
	return t.gone(old, "DELETE FROM outbox_published WHERE outbox = ?", "DELETE FROM outbox WHERE id = ?")
}

func (t *tx) forgetRepublished(old []row) (int64, error) {
	return t.gone(old, "DELETE FROM republish WHERE row = ?")
}

func (t *tx) forgetIntents(old []row) (int64, error) {
	return t.gone(old, "DELETE FROM intent WHERE id = ?")
}

func (t *tx) forgetLetters(old []row) (int64, error) {
	t.j.writer.kept.counted = false
	n, err := t.gone(old, "DELETE FROM dead_letter WHERE id = ?")
	if err != nil {
		return n, err
	}
	events := make([]row, len(old))
	for i, r := range old {
		events[i] = row{r[3]}
	}
	k, err := t.forgetResults(events)
	return n + k, err
}
