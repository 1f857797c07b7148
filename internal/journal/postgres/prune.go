package postgres

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// A forget is how rows of a kind are forgotten. Read gives, above $1 and by id,
// at most $2 rows: id, when it was made, whether it may go when it is older than
// $3, and what else the kind needs.
type forget struct {
	read string
	run  func(*tx, []row) (int64, error)
}

var forgets = map[journal.Forgettable]forget{
	journal.ForgetOperations:  {operationsOld, (*tx).forgetOperations},
	journal.ForgetAttempts:    {attemptsOld, (*tx).forgetAttempts},
	journal.ForgetEvents:      {eventsOld, (*tx).forgetEvents},
	journal.ForgetResults:     {resultsOld, (*tx).forgetResults},
	journal.ForgetRepublished: {republishedOld, (*tx).forgetRepublished},
	journal.ForgetIntents:     {intentsOld, (*tx).forgetIntents},
	journal.ForgetDeadLetters: {lettersOld, (*tx).forgetLetters},
}

// What may go once may go for ever: nobody brings it back to what it was before.
// So nothing is locked but published events, which can be queued again.
const (
	operationsOld = `SELECT o.id, (SELECT b.created FROM operation_body b WHERE b.id = o.id),
			o.kind = 1 AND o.state IN (30, 31) AND o.late = 0 AND o.changed < $3 AND o.id IS DISTINCT FROM (SELECT s.invited_operation FROM shop s WHERE s.id = o.shop)
			AND EXISTS (SELECT 1 FROM operation_body b JOIN operation_body n ON n.key_scope = b.key_scope AND n.kind = b.kind AND n.mac = b.mac AND n.generation > b.generation WHERE b.id = o.id)
			AND NOT EXISTS (SELECT 1 FROM attempt t WHERE t.operation = o.id AND t.ended IS NULL)
			AND NOT EXISTS (SELECT 1 FROM intent i WHERE i.operation = o.id AND i.state = 1)
		FROM operation o WHERE o.id > $1 ORDER BY o.id LIMIT $2`
	attemptsOld = `SELECT t.id, t.started, t.operation IS NULL OR t.ended < $3
			AND coalesce((SELECT o.state IN (30, 31) AND o.late = 0 FROM operation o WHERE o.id = t.operation), TRUE)
			AND NOT EXISTS (SELECT 1 FROM receipt r WHERE r.attempt = t.id)
		FROM attempt t WHERE t.id > $1 ORDER BY t.id LIMIT $2`
	eventsOld = `SELECT e.id, e.received, e.received < $3, NOT EXISTS (SELECT 1 FROM operation o WHERE o.id = e.operation AND o.event = e.id),
			(SELECT p.name FROM topic p WHERE p.id = e.topic), e.source, e.event_id
		FROM event e WHERE e.id > $1 ORDER BY e.id LIMIT $2`
	published = "EXISTS (SELECT 1 FROM outbox_published p WHERE p.outbox = x.id AND p.at < $3) AND NOT EXISTS (SELECT 1 FROM outbox_pending w WHERE w.row = x.id)"
	notAgain  = "NOT EXISTS (SELECT 1 FROM outbox_pending w WHERE w.outbox = x.id AND w.row <> w.outbox)"

	resultsOld = `SELECT x.id, x.created, x.shop IS NOT NULL AND ` + published + ` AND ` + notAgain + `
			AND coalesce((SELECT o.state IN (30, 31) AND o.late = 0 FROM operation o WHERE o.id = x.operation), TRUE)
			AND (SELECT s.sequence > x.sequence AND x.event IS DISTINCT FROM s.active_event FROM shop s WHERE s.id = x.shop)
		FROM outbox x WHERE x.id > $1 ORDER BY x.id LIMIT $2`
	republishedOld = "SELECT x.row, x.at, x.at < $3 AND NOT EXISTS (SELECT 1 FROM outbox_pending w WHERE w.row = x.row) FROM republish x WHERE x.row > $1 ORDER BY x.row LIMIT $2"
	intentsOld     = "SELECT i.id, i.at, i.state <> 1 AND i.ended < $3 FROM intent i WHERE i.id > $1 ORDER BY i.id LIMIT $2"
	lettersOld     = `SELECT l.id, l.received, coalesce((SELECT ` + published + ` FROM outbox x WHERE x.id = l.outbox), TRUE), l.outbox
		FROM dead_letter l WHERE l.id > $1 ORDER BY l.id LIMIT $2`
)

// Prune forgets a few rows in one transaction. What they took is used again when
// the server has vacuumed their tables.
func (j *Journal) Prune(ctx context.Context, p journal.Prune) (journal.Pruned, error) {
	f, ok := forgets[p.What]
	if !ok {
		return journal.Pruned{}, fmt.Errorf("%w: rows of kind %d to forget", journal.ErrNotFound, p.What)
	}
	p.Limit = int(bounded(p.Limit))
	return askFor(ctx, j, p.Limit, needs{keys: []string{"prune"}}, func(t *tx) (journal.Pruned, error) { return t.prune(p, f) })
}

func (t *tx) prune(p journal.Prune, f forget) (got journal.Pruned, err error) {
	alone, err := t.one("SELECT pg_try_advisory_xact_lock($1, $2)", t.j.lockKey, int32(lockPrune))
	if err != nil || alone.int(0) == 0 {
		return got, err // another replica does it
	}
	at, err := t.pruneTime(p)
	if err != nil {
		return got, err
	}
	before := at - p.Keep.Microseconds()
	a, err := t.query(f.read, p.After, int64(p.Limit), before)
	if err != nil {
		return got, err
	}
	var old []row
	young := false
	for _, r := range a.rows {
		got.Next = r.int(0)
		switch made := r.int(1); {
		case made > t.now: // by a clock that was ahead: nobody knows
		case made >= before:
			young = true // and so is what comes after
		case r.int(2) != 0:
			old = append(old, r)
		}
	}
	if len(a.rows) < p.Limit || young {
		got.Next = 0
	}
	if len(old) == 0 {
		return got, nil
	}
	n, err := f.run(t, old)
	got.Rows = int(n)
	return got, err
}

// pruneTime is the time by which ages are counted. However many replicas say for
// how long they were at work, it goes on by no more than as if one was.
func (t *tx) pruneTime(p journal.Prune) (int64, error) {
	a, err := t.query("SELECT name, value FROM meta WHERE name IN ('pruning', 'pruning_at')")
	if err != nil {
		return 0, err
	}
	was, set := int64(0), t.now
	for _, r := range a.rows {
		if n := number(r.blob(1)); r.text(0) == "pruning" {
			was = n
		} else {
			set = n
		}
	}
	worked := p.Worked.Microseconds()
	if was == 0 {
		r, err := t.one("SELECT received FROM event ORDER BY id LIMIT 1")
		if err != nil {
			return 0, err
		}
		if was = t.now; r != nil {
			was = min(was, r.int(0))
		}
	} else {
		worked = min(worked, max(0, t.now-set))
	}
	if p.Worked <= 0 {
		return min(was, t.now), nil
	}
	at := min(t.now, was+journal.PruneSpeed*worked)
	_, err = t.together(ask{setMeta, []any{"pruning", decimal(at)}}, ask{setMeta, []any{"pruning_at", decimal(t.now)}})
	return at, err
}

// gone runs statements that name rows by an array, and counts what is gone.
func (t *tx) gone(ids []int64, statements ...string) (n int64, err error) {
	asks := make([]ask, len(statements))
	for i, s := range statements {
		asks[i] = ask{s, []any{ids}}
	}
	as, err := t.together(asks...)
	if err != nil {
		return 0, err
	}
	for _, a := range as {
		n += a.changed
	}
	return n, nil
}

func (t *tx) forgetOperations(old []row) (int64, error) {
	return t.gone(idsOf(old), "DELETE FROM attempt WHERE operation = ANY($1)", "DELETE FROM operation_body WHERE id = ANY($1)", "DELETE FROM operation WHERE id = ANY($1)")
}

func (t *tx) forgetAttempts(old []row) (int64, error) {
	return t.gone(idsOf(old), "DELETE FROM attempt WHERE id = ANY($1)")
}

// forgetEvents finds the inbox's rows by what their identities are made of.
func (t *tx) forgetEvents(old []row) (int64, error) {
	identities, free := make([][]byte, len(old)), make([]int64, 0, len(old))
	for i, r := range old {
		identity := schemas.Identity(r.text(4), r.text(5), r.text(6))
		identities[i] = identity[:]
		if r.int(3) != 0 {
			free = append(free, r.int(0))
		}
	}
	as, err := t.together(
		ask{"DELETE FROM inbox WHERE identity = ANY($1) AND event = ANY($2)", []any{identities, idsOf(old)}},
		ask{"DELETE FROM event WHERE id = ANY($1)", []any{free}})
	if err != nil {
		return 0, err
	}
	return as[0].changed + as[1].changed, nil
}

// endKept keeps what published events say of where their topics end.
const endKept = `INSERT INTO published_end (type, part, next_offset) SELECT x.type, p.part, max(p.record_offset) + 1
	FROM outbox_published p JOIN outbox x ON x.id = p.outbox WHERE p.outbox = ANY($1) AND p.record_offset >= 0 GROUP BY x.type, p.part
	ON CONFLICT (type, part) DO UPDATE SET next_offset = greatest(published_end.next_offset, excluded.next_offset)`

// forgetResults locks the events, which keeps others from queueing them again,
// and looks anew whether somebody did just before.
func (t *tx) forgetResults(old []row) (int64, error) {
	a, err := t.query("SELECT id FROM outbox WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED", idsOf(old))
	if err != nil {
		return 0, err
	}
	if a, err = t.query("SELECT x.id FROM outbox x WHERE x.id = ANY($1) AND "+notAgain, idsOf(a.rows)); err != nil {
		return 0, err
	}
	ids := idsOf(a.rows)
	if _, err := t.exec(endKept, ids); err != nil {
		return 0, err
	}
	return t.gone(ids, "DELETE FROM outbox_published WHERE outbox = ANY($1)", "DELETE FROM outbox WHERE id = ANY($1)")
}

func (t *tx) forgetRepublished(old []row) (int64, error) {
	return t.gone(idsOf(old), "DELETE FROM republish WHERE row = ANY($1)")
}

func (t *tx) forgetIntents(old []row) (int64, error) {
	return t.gone(idsOf(old), "DELETE FROM intent WHERE id = ANY($1)")
}

func (t *tx) forgetLetters(old []row) (int64, error) {
	n, err := t.gone(idsOf(old), "DELETE FROM dead_letter WHERE id = ANY($1)")
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
