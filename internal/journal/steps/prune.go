package steps

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
)

// A pruneTarget describes how rows of a kind are pruned. Read selects at most $2 rows
// with ids above $1, by id: whether each may be deleted when it is older than $3, and
// what else the kind needs. The row with the highest id stays, because ids continue
// from it; responses are only a part of their rows.
type pruneTarget struct {
	read Query
	run  func(*Unit, []pruneRow) int64
}

func pruneTargetOf(what journal.PruneTarget) (pruneTarget, bool) {
	t, ok := map[journal.PruneTarget]pruneTarget{
		journal.PruneResponses:   {responsesOld, dropping(responsesErase)},
		journal.PruneOperations:  {operationsOld, dropping(attemptsOfDrop, bodiesDrop, operationsDrop)},
		journal.PruneAttempts:    {attemptsOld, dropping(attemptsDrop)},
		journal.PruneEvents:      {eventsOld, (*Unit).pruneEvents},
		journal.PruneResults:     {resultsOld, func(u *Unit, old []pruneRow) int64 { return u.pruneOutbox(pruned(old)) }},
		journal.PruneIntents:     {intentsOld, dropping(intentsDrop)},
		journal.PruneDeadLetters: {lettersOld, (*Unit).pruneDeadLetters},
	}[what]
	return t, ok
}

type pruneRow struct {
	ID     int64 `db:"id"`
	Made   int64 `db:"made"`
	Old    bool  `db:"old"`
	Free   bool  `db:"free"`   // of an event: no operation's latest run began with it
	Body   bool  `db:"body"`   // of an event: it created an operation that exists
	Outbox int64 `db:"outbox"` // of a dead letter: the event that reported it
}

// A row that may be deleted does not become needed again, so it is not locked. The
// exception are published events, which can be queued again. 30 and 31 are the states
// of ended operations.
const (
	responsesOld Query = `SELECT t.id, t.answer_at AS made, o.state IN (30, 31) AND o.late = 0 AND o.verified <> 0 AND o.verified < $3 AS old
		FROM attempt t JOIN operation o ON o.id = t.operation WHERE t.id > $1 AND t.answer IS NOT NULL ORDER BY t.id LIMIT $2`
	operationsOld Query = `SELECT o.id, (SELECT b.received FROM event b WHERE b.id = o.id) AS made,
			o.kind = 1 AND o.state IN (30, 31) AND o.late = 0 AND o.changed < $3 AND o.id IS DISTINCT FROM (SELECT s.invited_operation FROM shop s WHERE s.id = o.shop)
			AND EXISTS (SELECT 1 FROM event b CROSS JOIN event n
				WHERE b.id = o.id AND n.key_scope = b.key_scope AND n.kind = b.kind AND n.mac = b.mac AND n.generation > b.generation)
			AND NOT EXISTS (SELECT 1 FROM attempt t WHERE t.operation = o.id AND t.ended IS NULL)
			AND NOT EXISTS (SELECT 1 FROM intent i WHERE i.operation = o.id AND i.state = 1)
			AND o.id < (SELECT max(id) FROM operation) AS old
		FROM operation o WHERE o.id > $1 ORDER BY o.id LIMIT $2`
	attemptsOld Query = `SELECT t.id, t.started AS made, (t.operation IS NULL OR t.ended < $3)
			AND coalesce((SELECT o.state IN (30, 31) AND o.late = 0 FROM operation o WHERE o.id = t.operation), TRUE)
			AND t.answer IS NULL AND t.id < (SELECT max(id) FROM attempt) AS old
		FROM attempt t WHERE t.id > $1 ORDER BY t.id LIMIT $2`
	eventsOld Query = `SELECT e.id, e.received AS made, e.received < $3 AND e.id < (SELECT max(id) FROM event) AS old, NOT EXISTS (SELECT 1 FROM operation o WHERE o.id = e.operation AND o.event = e.id) AS free, e.uuid IS NOT NULL AS body
		FROM event e WHERE e.id > $1 ORDER BY e.id LIMIT $2`
	published = "x.published_at IS NOT NULL AND x.published_at < $3"
	notAgain  = "NOT EXISTS (SELECT 1 FROM outbox_pending w WHERE w.outbox = x.id)"

	resultsOld Query = `SELECT x.id, x.created AS made, x.shop IS NOT NULL AND (x.again IS NULL OR x.again < (SELECT max(id) FROM outbox)) AND ` + published + ` AND ` + notAgain + `
			AND coalesce((SELECT o.state IN (30, 31) AND o.late = 0 FROM operation o WHERE o.id = x.operation), TRUE)
			AND (SELECT s.sequence > x.sequence AND x.event IS DISTINCT FROM s.active_event FROM shop s WHERE s.id = x.shop)
			AND x.id < (SELECT max(id) FROM outbox) AS old
		FROM outbox x WHERE x.id > $1 ORDER BY x.id LIMIT $2`
	intentsOld Query = "SELECT i.id, i.at AS made, i.state <> 1 AND i.ended < $3 AND i.id < (SELECT max(id) FROM intent) AS old FROM intent i WHERE i.id > $1 ORDER BY i.id LIMIT $2"
	lettersOld Query = `SELECT l.id, l.received AS made, coalesce((SELECT ` + published + ` FROM outbox x WHERE x.id = l.outbox), TRUE)
			AND l.outbox IS DISTINCT FROM (SELECT max(id) FROM outbox) AND l.id < (SELECT max(id) FROM dead_letter) AS old, l.outbox
		FROM dead_letter l WHERE l.id > $1 ORDER BY l.id LIMIT $2`

	// lettersPurge finds which of some dead letters may be deleted now.
	lettersPurge Query = `SELECT l.id, l.outbox FROM dead_letter l JOIN outbox x ON x.id = l.outbox
		WHERE l.id = ANY($1) AND l.replay_due IS NULL AND x.published_at IS NOT NULL AND ` + notAgain + `
			AND x.id IS DISTINCT FROM (SELECT max(id) FROM outbox) AND l.id IS DISTINCT FROM (SELECT max(id) FROM dead_letter) ORDER BY l.id`

	firstEvent Query = "SELECT received AS n FROM event WHERE id = (SELECT min(id) FROM event)"
)

// Prune deletes a few rows in one transaction. The database reuses their space.
func (j *Journal) Prune(ctx context.Context, p journal.Prune) (journal.Pruned, error) {
	target, ok := pruneTargetOf(p.What)
	if !ok {
		return journal.Pruned{}, fmt.Errorf("%w: kind of rows %d to prune", journal.ErrNotFound, p.What)
	}
	p.Limit = bounded(p.Limit)
	return ask(ctx, j, &Request{Records: p.Limit}, func(u *Unit) (journal.Pruned, error) { return u.prune(p, target), nil })
}

func (u *Unit) prune(p journal.Prune, target pruneTarget) (got journal.Pruned) {
	if !u.lockPruning() {
		return got // another replica is pruning
	}
	before := u.pruneTime(p) - p.Keep.Microseconds()
	var old []pruneRow
	seen, young := 0, false
	each(u, target.read, []any{p.After, p.Limit, before}, func(r *pruneRow) {
		seen++
		got.Next = r.ID
		switch {
		case r.Made > u.now: // by a clock that was ahead: its age is unknown
		case r.Made >= before:
			young = true // and so are the rows after it
		case r.Old:
			old = append(old, *r)
		}
	})
	if seen < p.Limit || young {
		got.Next = 0
	}
	if len(old) > 0 {
		got.Rows = int(target.run(u, old))
	}
	return got
}

// lockPruning reports whether no other replica is pruning, and keeps others from it.
func (u *Unit) lockPruning() bool {
	alone, err := u.tx.LockPruning()
	u.check(err)
	return alone
}

// pruneTime returns the time by which ages are counted. It advances by the uptime of
// one replica, however many replicas report theirs.
func (u *Unit) pruneTime(p journal.Prune) int64 {
	was := u.numberFact(Pruning)
	worked := p.Uptime.Microseconds()
	if was == 0 {
		was = u.now
		if oldest := firstInt(u, firstEvent); oldest != 0 {
			was = min(was, oldest)
		}
	} else {
		set := u.numberFact(PruningAt)
		if set == 0 {
			set = u.now
		}
		worked = min(worked, max(0, u.now-set))
	}
	if p.Uptime <= 0 {
		return min(was, u.now)
	}
	at := min(u.now, was+journal.PruneSpeed*worked)
	u.setNumber(Pruning, at)
	u.setNumber(PruningAt, u.now)
	return at
}

const (
	responsesErase Query = "UPDATE attempt SET answer = NULL, answer_key = NULL, answer_at = NULL, sealed_for = '' WHERE id = ANY($1)"
	attemptsOfDrop Query = "DELETE FROM attempt WHERE operation = ANY($1) AND id < (SELECT max(id) FROM attempt)"
	// bodiesDrop makes the events that created operations ordinary ones.
	bodiesDrop     Query = "UPDATE event SET uuid = NULL, mac = NULL, generation = 0, key_scope = NULL, subject = NULL, subject_key = NULL WHERE id = ANY($1)"
	identitiesDrop Query = "UPDATE event SET identity = NULL WHERE id = ANY($1) AND identity IS NOT NULL"
	eventsBare     Query = "UPDATE event SET identity = NULL, exit = 0, type = '', source = '', event_id = '', traceparent = '', tracestate = '' WHERE id = ANY($1) AND exit <> 0"
	operationsDrop Query = "DELETE FROM operation WHERE id = ANY($1)"
	attemptsDrop   Query = "DELETE FROM attempt WHERE id = ANY($1)"
	eventsDrop     Query = "DELETE FROM event WHERE id = ANY($1)"
	outboxDrop     Query = "DELETE FROM outbox WHERE id = ANY($1)"
	intentsDrop    Query = "DELETE FROM intent WHERE id = ANY($1)"
	lettersDrop    Query = "DELETE FROM dead_letter WHERE id = ANY($1)"

	// endsKept saves the ends of topics that published events prove.
	endsKept Query = `INSERT INTO published_end (type, part, next_offset) SELECT type, part, max(record_offset) + 1
		FROM outbox WHERE id = ANY($1) AND record_offset >= 0 GROUP BY type, part
		ON CONFLICT (type, part) DO UPDATE SET next_offset = greatest(published_end.next_offset, excluded.next_offset)`
	// outboxLocked locks events, so that others cannot queue them again.
	outboxLocked Query = "SELECT id FROM outbox WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED"
	outboxIdle   Query = "SELECT x.id FROM outbox x WHERE x.id = ANY($1) AND " + notAgain
)

// execForIDs runs statements with a list of ids and counts the rows that they change.
func (u *Unit) execForIDs(ids []int64, statements ...Query) (n int64) {
	if len(ids) == 0 {
		return 0
	}
	for _, q := range statements {
		n += u.exec(q, ids)
	}
	return n
}

func pruned(old []pruneRow) []int64 {
	ids := make([]int64, len(old))
	for i, r := range old {
		ids[i] = r.ID
	}
	return ids
}

// dropping returns a function that runs statements with the ids of rows.
func dropping(statements ...Query) func(*Unit, []pruneRow) int64 {
	return func(u *Unit, old []pruneRow) int64 { return u.execForIDs(pruned(old), statements...) }
}

// pruneEvents deletes events. An event that began the latest run of an operation
// stays without its identity, and of an event that created one only the operation's
// part stays.
func (u *Unit) pruneEvents(old []pruneRow) int64 {
	var free, bodies, kept []int64
	for _, r := range old {
		switch {
		case !r.Free:
			kept = append(kept, r.ID)
		case r.Body:
			bodies = append(bodies, r.ID)
		default:
			free = append(free, r.ID)
		}
	}
	return u.execForIDs(kept, identitiesDrop) + u.execForIDs(bodies, eventsBare) + u.execForIDs(free, eventsDrop)
}

// pruneOutbox locks events, checks again that none of them was queued meanwhile, and
// deletes them.
func (u *Unit) pruneOutbox(ids []int64) int64 {
	ids = ints(u, outboxIdle, ints(u, outboxLocked, ids))
	u.exec(endsKept, ids)
	return u.execForIDs(ids, outboxDrop)
}

func (u *Unit) pruneDeadLetters(old []pruneRow) int64 {
	n := u.execForIDs(pruned(old), lettersDrop)
	events := make([]int64, len(old))
	for i, r := range old {
		events[i] = r.Outbox
	}
	return n + u.pruneOutbox(events)
}

// PurgeDeadLetters deletes dead letters before their time, also beside a worker.
func (j *Journal) PurgeDeadLetters(ctx context.Context, ids []int64, audit journal.AuditEntry) (int, error) {
	return ask(ctx, j, &Request{Beside: true}, func(u *Unit) (int, error) {
		if !u.lockPruning() {
			return 0, journal.ErrStale
		}
		var old []pruneRow
		each(u, lettersPurge, []any{ids}, func(r *pruneRow) { old = append(old, *r) })
		if len(old) == 0 {
			return 0, nil
		}
		u.pruneDeadLetters(old)
		entry := audit
		entry.Detail = fmt.Sprintf("%d deleted; %s", len(old), audit.Detail)
		u.audit(entry)
		return len(old), nil
	})
}
