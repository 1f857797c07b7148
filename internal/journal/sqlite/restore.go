package sqlite

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/schemas"
)

const (
	restoreRead = `SELECT o.state, o.kind, o.account, o.shop, s.name, b.uuid, o.run, b.generation, o.attempts, o.doubt, o.unknowns, o.reason,
			o.receipt, coalesce(e.event_id, ''), coalesce(e.event_time, 0), coalesce(e.traceparent, ''), coalesce(e.tracestate, ''),
			s.version, s.active_at, s.merchant_id, s.active_version, s.active_event, a.uuid, b.mac, b.subject, o.planned
		FROM operation o CROSS JOIN operation_body b ON b.id = o.id CROSS JOIN shop s ON s.id = o.shop
			LEFT JOIN event e ON e.id = o.event LEFT JOIN operation_body a ON a.id = s.active_operation WHERE o.id = ?`

	resultsRead = `SELECT n.event, x.type, x.sequence, n.causation, n.version, x.key, x.value, x.headers, x.created,
			n.version > 0 AND EXISTS (SELECT 1 FROM credential c WHERE c.shop = x.shop AND c.version = n.version)
		FROM announced n CROSS JOIN outbox x ON x.id = n.outbox WHERE n.operation_uuid = ?1 AND n.applied = 0 AND x.shop = ?4 AND (?2 OR n.causation = ?3) ORDER BY x.sequence`

	// Those whose run's event led to a result.
	restoreRuns = `SELECT DISTINCT o.id FROM announced n CROSS JOIN operation_body b ON b.uuid = n.operation_uuid CROSS JOIN operation o ON o.id = b.id
			CROSS JOIN event e ON e.id = o.event
		WHERE n.applied = 0 AND n.causation = e.event_id AND o.id > ?1 AND ?2 > 0 ORDER BY o.id LIMIT ?3`
	restoreRest = `SELECT o.id FROM operation o WHERE o.id > ?1 AND o.restored < ?2 AND o.id IN (SELECT id FROM operation WHERE lane IS NOT NULL
			UNION SELECT id FROM operation WHERE state = 20
			UNION SELECT b.id FROM announced n CROSS JOIN operation_body b ON b.uuid = n.operation_uuid WHERE n.applied = 0)
		ORDER BY o.id LIMIT ?3`
)

// Restore asks about a page of operations.
func (j *Journal) Restore(ctx context.Context, last bool, after int64, limit int) (next int64, words map[string]int, err error) {
	type answer struct {
		next  int64
		words map[string]int
	}
	limit = max(limit, 1)
	a, err := ask(ctx, j, limit, func(t *tx) (answer, error) {
		a := answer{}
		rec := t.j.writer.recovery
		if rec == nil {
			return a, journal.ErrNotRecovering
		}
		query := restoreRuns
		if last {
			query = restoreRest
		}
		var ids []int64
		if err := t.each(query, in{after, rec.number, limit}, func(r row) error {
			ids = append(ids, r.int(0))
			return nil
		}); err != nil {
			return a, err
		}
		for _, id := range ids {
			if err := t.restore(id, last); err != nil {
				return a, err
			}
		}
		if len(ids) == limit {
			a.next = ids[len(ids)-1]
		}
		a.words, rec.words = rec.words, map[string]int{}
		return a, nil
	})
	return a.next, a.words, err
}

// A restored is an operation while it is being looked at.
type restored struct {
	journal.RestoredOperation
	facts
	id, receipt, activeVersion int64
}

// RestoreRun is for an operation whose run an event that was read again has
// just begun.
func (t stepTx) RestoreRun(operation int64) error { return t.restore(operation, false) }

// restore asks what an operation comes to, and does it.
func (t *tx) restore(id int64, last bool) error {
	o, err := t.restored(id, last)
	if err != nil || !last && len(o.Results) == 0 {
		return err
	}
	rec := t.j.writer.recovery
	r := rec.restorer(o.RestoredOperation)
	if r.Credential != nil {
		if o.Conflict, err = t.merchantConflicts(o.facts, *r.Credential); err != nil {
			return err
		}
		if o.Conflict {
			r = rec.restorer(o.RestoredOperation)
			r.Credential, r.Active = nil, nil
		}
	}
	for _, x := range o.Results {
		if _, err := t.exec("UPDATE outbox SET operation = ? WHERE id = (SELECT outbox FROM announced WHERE event = ?)", id, x.Event[:]); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE announced SET applied = 1 WHERE event = ?", x.Event[:]); err != nil {
			return err
		}
	}
	if last {
		if _, err := t.exec("UPDATE operation SET restored = ? WHERE id = ?", rec.number, id); err != nil {
			return err
		}
	}
	if r.Word == "" {
		return nil
	}
	rec.words[r.Word]++
	t.undo = append(t.undo, func() { rec.words[r.Word]-- })
	return t.carryRestoration(o, r)
}

func (t *tx) restored(id int64, last bool) (o restored, err error) {
	r, err := t.one(restoreRead, id)
	if err != nil {
		return o, err
	}
	if r == nil {
		return o, fmt.Errorf("%w: operation %d", journal.ErrNotFound, id)
	}
	o.id, o.receipt, o.activeVersion = id, r.int(12), r.int(20)
	o.facts = facts{
		account: r.int(2), shop: r.int(3), kind: journal.Kind(r.int(1)), // #nosec G115 -- our own numbers
		key: journal.ShopKey{Account: t.j.writer.names[r.int(2)], Shop: r.text(4)},
	}
	c := &o.ClaimedOperation
	c.UUID, c.Kind, c.State, c.Shop = asUUID(r.blob(5)), o.kind, journal.State(r.int(0)), o.key // #nosec G115 -- our own numbers
	c.Run, c.Generation, c.Attempts, c.Doubt, c.Unknowns, c.Reason = int(r.int(6)), int(r.int(7)), int(r.int(8)), r.int(9) != 0, int(r.int(10)), r.text(11)
	c.EventID, c.EventTime, c.TraceParent, c.TraceState = r.text(13), wall(r.int(14)), r.text(15), r.text(16)
	c.NextVersion, c.SubjectMAC, c.Sealed, c.Planned = r.int(17)+1, r.blob(23), r.blob(24), wall(r.int(25))
	if !r.null(18) {
		c.Active = &journal.ActiveView{At: wall(r.int(18)), MerchantID: r.text(19), Version: r.int(20), Event: asUUID(r.blob(21)), Operation: asUUID(r.blob(22))}
	}
	o.Last = last
	if o.receipt != 0 {
		list, err := t.receipts("r.attempt = ?", o.receipt)
		if err != nil {
			return o, err
		}
		if len(list) > 0 {
			c.Receipt = &list[0]
		}
	}
	err = t.each(resultsRead, in{c.UUID[:], stored.Flag(last), c.EventID, o.shop}, func(r row) error {
		headers, err := stored.UnpackHeaders(r.blob(7))
		o.Results = append(o.Results, journal.Announced{
			Event: asUUID(r.blob(0)), Type: r.text(1), Shop: o.key, Operation: c.UUID, Causation: r.text(3), Sequence: r.int(2), Version: r.int(4),
			At: wall(r.int(8)), Message: schemas.Message{Topic: r.text(1), Key: r.blob(5), Value: r.blob(6), Headers: headers}, Held: r.int(9) != 0,
		})
		return err
	})
	return o, err
}

func (t *tx) merchantConflicts(f facts, c journal.Credential) (bool, error) {
	r, err := t.one("SELECT EXISTS (SELECT 1 FROM shop WHERE id = ?1 AND merchant_id <> ?3 OR account = ?2 AND merchant_id = ?3 AND id <> ?1)", f.shop, f.account, c.MerchantID)
	if err != nil {
		return false, err
	}
	return r.int(0) != 0, nil
}

const (
	restoreSame = `UPDATE operation SET doubt = doubt | ?, unknowns = unknowns + ?, run = max(run, ?), version = coalesce(?, version), claim = claim + 1 WHERE id = ?`
	restoreMove = `UPDATE operation SET state = ?1, stage = CASE WHEN ?2 THEN ?3 ELSE 2 * late END, due_at = CASE WHEN ?2 OR late = 1 THEN ?4 END,
		lane = ?5, lease_held = 0, reason = ?6, doubt = doubt | ?7, unknowns = unknowns + ?8, run = max(run, ?9), version = coalesce(?10, version), changed = ?4,
		claim = claim + 1 WHERE id = ?11`
)

// carryRestoration does what the restorer said.
func (t *tx) carryRestoration(o restored, r journal.Restoration) error {
	from, to := o.State, r.To
	if to == 0 {
		to = from
		if _, err := t.exec(restoreSame, stored.Flag(r.Doubt), stored.Flag(r.Unknown), r.Run, orNull(r.Version), o.id); err != nil {
			return err
		}
	} else {
		stage, _ := stored.Stage(to, t.now)
		if _, err := t.exec(restoreMove, int64(to), stored.Flag(to.Open()), stage, t.now, stored.Lane(to), r.Reason, stored.Flag(r.Doubt), stored.Flag(r.Unknown), r.Run,
			credentialVersion(r.Credential), o.id); err != nil {
			return err
		}
	}
	delete(t.j.writer.facts, o.id)
	if from.Open() != to.Open() && o.kind == journal.Invite {
		t.invitation(o.key, to.Open())
	}
	if r.MerchantID != "" {
		if _, err := t.exec("UPDATE OR IGNORE shop SET merchant_id = ? WHERE id = ? AND merchant_id IS NULL", r.MerchantID, o.shop); err != nil {
			return err
		}
	}
	tr := journal.Transition{Ref: journal.ClaimRef{Operation: o.id}, Credential: r.Credential, Invited: r.Invited, Active: r.Active, Publish: r.Publish}
	if tr.Credential != nil {
		// A version that is there is the same: its reference was published.
		there, err := t.one("SELECT 1 FROM credential WHERE shop = ? AND version = ?", o.shop, tr.Credential.Version)
		if err != nil {
			return err
		}
		if tr.Active != nil && tr.Credential.Version < o.activeVersion {
			tr.Active = nil
		}
		if there != nil {
			tr.Credential = nil
		}
	}
	sequence, err := t.remember(o.facts, tr)
	if err != nil {
		return err
	}
	if err := t.emitFrom(sequence, tr.Publish, o.shop, o.id); err != nil {
		return err
	}
	t.woken = true
	if from.HoldsLane() && !to.HoldsLane() {
		return t.release(o.shop)
	}
	return nil
}
