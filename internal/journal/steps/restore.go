package steps

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/schemas"
)

const (
	restoreRead Query = `SELECT e.event_id, e.event_time, e.traceparent, e.tracestate, a.uuid AS active_uuid
		FROM operation o CROSS JOIN shop s LEFT JOIN event e ON e.id = o.event LEFT JOIN event a ON a.id = s.active_operation
		WHERE o.id = $1 AND s.id = o.shop`
	responseRead Query = "SELECT id, answer, answer_at, sealed_for FROM attempt WHERE id = $1 AND answer IS NOT NULL"

	resultsOf Query = `SELECT n.event, n.causation, n.version, n.outbox, x.type, x.sequence, x.key, x.value, x.headers, x.created
		FROM announced n CROSS JOIN outbox x
		WHERE x.id = n.outbox AND n.operation_uuid = $1 AND n.applied = 0 AND x.shop = $4 AND ($2::bigint = 1 OR n.causation = $3) ORDER BY x.sequence`
	newestOf       Query = "SELECT key, value, headers FROM outbox WHERE shop = $1 AND type = $2 ORDER BY sequence DESC LIMIT 1"
	referencesOf   Query = "SELECT version AS id, reference FROM credential WHERE shop = $1"
	resultsTaken   Query = "UPDATE outbox SET operation = $1 WHERE id = ANY($2)"
	resultsApplied Query = `UPDATE announced SET applied = 1 WHERE event = ANY(ARRAY(SELECT decode(x, 'hex') FROM unnest($1::text[]) AS x))
-- sqlite:
UPDATE announced SET applied = 1 WHERE event IN (SELECT unhex(value) FROM json_each($1))`

	// restoreRuns finds operations whose run's event led to a result.
	restoreRuns Query = `SELECT o.id FROM operation o WHERE o.id > $1 AND o.id = ANY(ARRAY(
			SELECT b.id FROM announced n JOIN event b ON b.uuid = n.operation_uuid JOIN operation p ON p.id = b.id JOIN event e ON e.id = p.event
			WHERE n.applied = 0 AND n.causation = e.event_id)) ORDER BY o.id LIMIT $2
-- sqlite:
SELECT DISTINCT o.id FROM announced n CROSS JOIN event b ON b.uuid = n.operation_uuid CROSS JOIN operation o ON o.id = b.id CROSS JOIN event e ON e.id = o.event
	WHERE n.applied = 0 AND n.causation = e.event_id AND o.id > $1 ORDER BY o.id LIMIT $2`
	// restoreRest finds operations that are open, in attention, or named by a result.
	restoreRest Query = `SELECT o.id FROM operation o WHERE o.id > $1 AND o.restored < $3
			AND o.id = ANY(ARRAY(SELECT id FROM operation WHERE lane IS NOT NULL
				UNION SELECT id FROM operation WHERE state = 20
				UNION SELECT b.id FROM announced n JOIN event b ON b.uuid = n.operation_uuid WHERE n.applied = 0))
		ORDER BY o.id LIMIT $2
-- sqlite:
SELECT o.id FROM operation o WHERE o.id > $1 AND o.restored < $3 AND o.id IN (SELECT id FROM operation INDEXED BY operation_lane WHERE lane IS NOT NULL
		UNION SELECT id FROM operation INDEXED BY operation_attention WHERE state = 20
		UNION SELECT b.id FROM announced n CROSS JOIN event b ON b.uuid = n.operation_uuid WHERE n.applied = 0)
	ORDER BY o.id LIMIT $2`
)

// Restore restores a page of operations. It selects them before the transaction that
// locks their shops, because only the recovery is running.
func (j *Journal) Restore(ctx context.Context, last bool, after int64, limit int) (next int64, words map[string]int, err error) {
	rec := j.recovery.Load()
	if rec == nil {
		return 0, nil, journal.ErrNotRecovering
	}
	limit = max(limit, 1)
	q, args := restoreRuns, []any{after, limit}
	if last {
		q, args = restoreRest, []any{after, limit, rec.number}
	}
	ids, err := list(ctx, j, q, args, func(r *rows.Operation) int64 { return r.ID })
	if err != nil {
		return 0, nil, err
	}
	var done map[string]int
	err = j.db.Write(ctx, &Request{
		Needs: Needs{Operations: ids, Missing: journal.ErrNotFound}, Records: limit,
		Load: func(l *Loader) { l.operations, l.bodies = append(l.operations, ids...), append(l.bodies, ids...) },
		Do: func(u *Unit) error {
			if j.recovery.Load() != rec {
				return journal.ErrNotRecovering
			}
			before := maps.Clone(rec.words)
			done = maps.Clone(before)
			for _, id := range ids {
				word, err := u.restore(rec, id, last)
				if err != nil {
					return err
				}
				if word != "" {
					done[word]++
				}
			}
			u.onCommit(func() { rec.count(before, -1) })
			return nil
		},
	})
	if err != nil {
		return 0, nil, err
	}
	if len(ids) == limit {
		next = ids[len(ids)-1]
	}
	return next, done, nil
}

// count adds outcomes of operations, or with sign -1 subtracts those that Restore has
// returned.
func (r *recovery) count(words map[string]int, sign int) {
	for w, n := range words {
		r.words[w] += sign * n
	}
	maps.DeleteFunc(r.words, func(_ string, n int) bool { return n == 0 })
}

// restoreRun restores an operation whose run a replayed event has just begun.
func (u *Unit) restoreRun(operation int64) error {
	rec := u.j.recovery.Load()
	if rec == nil {
		return nil
	}
	word, err := u.restore(rec, operation, false)
	if err == nil && word != "" {
		u.onCommit(func() { rec.count(map[string]int{word: 1}, 1) })
	}
	return err
}

// restore asks the restorer for the state of an operation, carries out the answer and
// returns the restorer's name of the outcome.
func (u *Unit) restore(rec *recovery, id int64, last bool) (word string, err error) {
	o := u.operations.get(u, id)
	if o == nil {
		return "", fmt.Errorf("journal: restore operation %d: %w", id, journal.ErrNotFound)
	}
	s := u.shops.get(u, o.Shop)
	if s == nil {
		return "", fmt.Errorf("journal: operation %d has no shop", id)
	}
	x, outboxes, err := u.restored(o, s, last)
	if err != nil || !last && len(x.Results) == 0 || last && o.Restored >= rec.number {
		return "", err
	}
	r := rec.restorer(x)
	if r.Credential != nil {
		if x.Conflict = u.merchantConflicts(s, r.Credential); x.Conflict {
			r = rec.restorer(x)
			r.Credential, r.Active = nil, nil
		}
	}
	if len(x.Results) > 0 {
		events := make([]string, len(x.Results))
		for i := range x.Results {
			events[i] = hex.EncodeToString(x.Results[i].Event[:])
		}
		u.later(resultsTaken, id, outboxes)
		u.later(resultsApplied, events)
	}
	if last {
		o.Restored = rec.number
	}
	if r.Word == "" {
		return "", nil
	}
	if err := u.carryRestoration(o, s, r); err != nil {
		return "", fmt.Errorf("journal: restore operation %d: %w", id, err)
	}
	return r.Word, nil
}

type restoreRow struct {
	rows.Event
	ActiveUUID []byte `db:"active_uuid"`
}

type resultRow struct {
	rows.Outbox
	Causation string `db:"causation"`
	Version   int64  `db:"version"`
	OutboxID  int64  `db:"outbox"`
}

type referenceRow struct {
	ID        int64  `db:"id"`
	Reference string `db:"reference"`
}

// restored returns an operation for the restorer, and the outbox rows of its results.
func (u *Unit) restored(o *rows.Operation, s *rows.Shop, last bool) (x journal.RestoredOperation, outboxes []int64, err error) {
	b := u.bodies.get(u, o.ID)
	r := first[restoreRow](u, restoreRead, o.ID)
	if b == nil || r == nil {
		return x, nil, fmt.Errorf("journal: operation %d has no body or event", o.ID)
	}
	c := &x.ClaimedOperation
	c.UUID, c.Kind, c.State, c.Shop = asUUID(b.UUID), o.Kind, o.State, journal.ShopKey{Account: u.accountName(o.Account), Shop: s.Name}
	c.Run, c.Generation, c.Attempts, c.Doubt, c.Unknowns, c.Reason = int(o.Run), int(b.Generation), int(o.Attempts), o.Doubt, int(o.Unknowns), o.Reason
	c.EventID, c.EventTime, c.TraceParent, c.TraceState = r.EventID, displayTime(r.EventTime), r.TraceParent, r.TraceState
	c.NextVersion, c.SubjectMAC, c.Sealed, c.Planned = s.Version+1, b.MAC, b.Subject, displayTime(o.Planned)
	c.Active = activeView(s, asUUID(r.ActiveUUID))
	x.Last = last
	if o.Receipt != 0 {
		if kept := first[rows.Attempt](u, responseRead, o.Receipt); kept != nil {
			r := response(kept, c.UUID)
			c.Receipt = &r
		}
	}
	each(u, resultsOf, []any{b.UUID, stored.Flag(last), r.EventID, s.ID}, func(r *resultRow) {
		headers, damaged := stored.UnpackHeaders(r.Headers)
		err = errors.Join(err, damaged)
		outboxes = append(outboxes, r.OutboxID)
		x.Results = append(x.Results, journal.PublishedEvent{
			Event: asUUID(r.Event), Type: r.Type, Shop: c.Shop, Operation: c.UUID, Causation: r.Causation, Sequence: r.Sequence, Version: r.Version,
			At: displayTime(r.Created), Message: schemas.Message{Topic: r.Type, Key: r.Key, Value: r.Value, Headers: headers},
		})
	})
	if err != nil || !slices.ContainsFunc(x.Results, func(a journal.PublishedEvent) bool { return a.Version > 0 }) {
		return x, outboxes, err
	}
	if newest := first[activatedRow](u, newestOf, s.ID, schemas.TypeActivated); newest != nil {
		x.Newest = newest.reference()
	}
	x.Versions = map[string]int64{}
	each(u, referencesOf, []any{s.ID}, func(r *referenceRow) { x.Versions[r.Reference] = r.ID })
	return x, outboxes, nil
}

// merchantConflicts reports whether a shop cannot get a merchant id: it has another
// one, or another shop has this one.
func (u *Unit) merchantConflicts(s *rows.Shop, c *journal.Credential) bool {
	if s.MerchantID != "" && s.MerchantID != c.MerchantID {
		return true
	}
	owner := u.merchantOwner(merchantKey{u.accountName(s.Account), c.MerchantID})
	return owner != 0 && owner != s.ID
}

// versionOfReference finds credentials by what was published of them. Versions do not
// identify them: a store outside of the journal numbers by itself.
const versionOfReference Query = "SELECT version AS id FROM credential WHERE shop = $1 AND reference = $2"

// takenOver gives an operation the version of published credentials, and returns them
// if the journal does not have them.
func (u *Unit) takenOver(o *rows.Operation, s *rows.Shop, c journal.Credential) *journal.Credential {
	if o.Version = firstInt(u, versionOfReference, s.ID, c.Reference); o.Version != 0 {
		return nil
	}
	if u.versionTaken(s, c.Version) { // by others
		c.Version = s.Version + 1
	}
	o.Version = c.Version
	return &c
}

// carryRestoration carries out the restorer's answer.
func (u *Unit) carryRestoration(o *rows.Operation, s *rows.Shop, r journal.Restoration) (err error) {
	from := o.State
	o.Claim++
	o.Doubt = o.Doubt || r.Doubt
	if r.Unknown {
		o.Unknowns++
	}
	o.Run = max(o.Run, int64(r.Run))
	if r.To == 0 && r.Version != 0 {
		o.Version = r.Version
	}
	if r.To != 0 {
		o.Reason = r.Reason
		u.enter(o, r.To, u.now)
		o.Changed = u.now
	}
	if r.MerchantID != "" && s.MerchantID == "" {
		if u.merchantOwner(merchantKey{u.accountName(s.Account), r.MerchantID}) == 0 {
			s.MerchantID = r.MerchantID
		}
	}
	tr := journal.Transition{Ref: journal.ClaimRef{Operation: o.ID}, Credential: r.Credential, Invited: r.Invited, Active: r.Active, Publish: r.Publish}
	if tr.Credential != nil {
		tr.Credential = u.takenOver(o, s, *tr.Credential)
		if tr.Active != nil && o.Version < s.ActiveVersion {
			tr.Active = nil
		}
	}
	if err := u.remember(o, &tr); err != nil {
		return err
	}
	u.signals.Work = true
	if from.HoldsLane() && !o.State.HoldsLane() {
		u.releaseLane(o.Shop)
	}
	return nil
}
