package postgres

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/internal/keyset"
)

// Apply makes a transition. The caller goes on holding the operation after it
// until somebody claims it: until Due, where that lies ahead.
//
// A transition from a state beside the lane into one that holds it ends as
// Queued where the lane is another's by now.
func (j *Journal) Apply(ctx context.Context, tr journal.Transition) error {
	switch tr.To {
	case journal.Planned, journal.Waiting, journal.Received, journal.Stored, journal.Unknown, journal.Attention, journal.Done, journal.Superseded:
	default:
		return fmt.Errorf("journal: no transition leads to %v", tr.To)
	}
	n := needs{operations: []int64{tr.Ref.Operation}, missing: journal.ErrStale}
	for _, d := range tr.Publish {
		n.shops = append(n.shops, d.Shop)
	}
	return j.submit(ctx, 0, n, func(t *tx) error { return t.apply(tr) })
}

func (t *tx) apply(tr journal.Transition) error {
	f := t.j.facts[tr.Ref.Operation] // known: its shop is locked
	to := tr.To
	switch {
	case tr.Behind && to == journal.Planned:
		queued, err := t.one("SELECT EXISTS (SELECT 1 FROM operation WHERE shop = $1 AND lane = 2)", f.shop)
		if err != nil {
			return err
		}
		if queued.int(0) != 0 { // released below
			to = journal.Queued
		}
	case to.HoldsLane() && !tr.From.HoldsLane() && journal.StageOf(to) == journal.Call:
		busy, err := t.busy(f.shop)
		if err != nil {
			return err
		}
		if busy {
			to = journal.Queued
		}
	}
	if err := t.move(tr, to); err != nil {
		return err
	}
	if err := t.byHand(tr); err != nil {
		return err
	}
	if tr.Attempt != 0 && tr.End != nil {
		if _, err := t.endAttempt(tr.Attempt, 0, *tr.End); err != nil {
			return err
		}
	}
	if tr.Supersede != "" {
		if err := t.supersedeOlder(f, tr); err != nil {
			return err
		}
	}
	if (tr.From.HoldsLane() || tr.Behind) && !to.HoldsLane() {
		if err := t.release(f.shop); err != nil {
			return err
		}
	}
	sequence, err := t.remember(f, tr)
	if err != nil {
		return err
	}
	if err := t.emitFrom(sequence, tr.Publish, f.key, f.shop, tr.Ref.Operation); err != nil {
		return err
	}
	if tr.Audit != nil {
		return t.audit(*tr.Audit)
	}
	return nil
}

// Operations move by one statement that compares and writes. Those that end
// leave alone what only open ones have.
const (
	moveFence  = " WHERE id = $1 AND state = $2 AND claim = $3"
	moveEnding = `UPDATE operation SET state = $4, stage = 2 * (late & $5), due_at = CASE late & $5 WHEN 0 THEN NULL ELSE $6::bigint END, late = late & $5,
		lane = NULL, lease_held = 0, reason = $7, doubt = doubt | $8, changed = $6, verified = coalesce($9, verified)` + moveFence
	moveOn = `UPDATE operation SET state = $4, stage = $10::bigint + 2 * (late & $5), due_at = CASE late & $5 WHEN 0 THEN $11::bigint ELSE $6::bigint END, lane = $12, lease_held = 0, reason = $7, doubt = doubt | $8,
		changed = CASE state WHEN $4 THEN changed ELSE $6 END, verified = coalesce($9, verified), unknowns = unknowns + $13, waits = waits + $14, version = coalesce($15, version), stored_at = coalesce($16, stored_at), received = received | $17` + moveFence
)

// move compares and writes the state.
func (t *tx) move(tr journal.Transition, to journal.State) error {
	args := []any{tr.Ref.Operation, int64(tr.From), tr.Ref.Claim, int64(to), 0, t.now, tr.Reason, inDoubt(tr, to), verifiedAt(tr, t.now)}
	statement, stage := moveEnding, int64(0)
	if !to.Open() && tr.Credential == nil {
		args[4] = stored.Flag(!tr.Compared)
	} else {
		due := t.j.clock.stamp(tr.Due)
		if due == 0 {
			due = t.now
		}
		var dueAt any
		stage, dueAt = stored.Stage(to, due)
		args[4] = stored.Flag(!to.Open())
		statement, args = moveOn, append(args, stage, dueAt, laneFor(tr, to), stored.Flag(to == journal.Unknown && tr.From == journal.Sending), stored.Flag(to == journal.Waiting),
			credentialVersion(tr.Credential), storedAt(to, tr.From, t.now), stored.Flag(to == journal.Received))
	}
	n, err := t.exec(statement, args...)
	if err != nil {
		return err
	}
	if n == 0 {
		return journal.ErrStale
	}
	t.woken = t.woken || stage != 0
	return nil
}

// inDoubt: what nobody knows is in doubt, whatever the caller said.
func inDoubt(tr journal.Transition, to journal.State) int64 {
	return stored.Flag(tr.Doubt || to == journal.Unknown || tr.Probe)
}

func verifiedAt(tr journal.Transition, now int64) any {
	if tr.Verified {
		return now
	}
	return nil
}

func laneFor(tr journal.Transition, to journal.State) any {
	if tr.Behind && to == journal.Queued {
		return stored.LaneLast
	}
	return stored.Lane(to)
}

const olderRead = `SELECT o.id FROM operation o JOIN operation n ON n.id = $3
	WHERE o.shop = $1 AND o.kind = $2 AND o.doubt = 1 AND o.lane_order < n.lane_order AND (o.lane = 4 OR o.state = 20 AND o.received = 0 AND o.reason = ANY($4))`

const unsentRead = `SELECT id FROM operation WHERE state = 20 AND reason = ANY($1) AND shop = $2 AND kind = $3`

// supersedeOlder ends those that nothing was sent for, and those in doubt that this operation stands for.
func (t *tx) supersedeOlder(f facts, tr journal.Transition) error {
	if len(tr.Unsent) > 0 {
		a, err := t.query(unsentRead, tr.Unsent, f.shop, int64(f.kind))
		if err != nil {
			return err
		}
		if len(a.rows) > 0 {
			if err := t.supersede(idsOf(a.rows), tr.Supersede); err != nil {
				return err
			}
		}
	}
	a, err := t.query(olderRead, f.shop, int64(f.kind), tr.Ref.Operation, tr.Over)
	if err != nil || len(a.rows) == 0 {
		return err
	}
	return t.supersede(idsOf(a.rows), tr.Supersede)
}

// idsOf is the first column.
func idsOf(rows []row) []int64 {
	ids := make([]int64, len(rows))
	for i, r := range rows {
		ids[i] = r.int(0)
	}
	return ids
}

func credentialVersion(c *journal.Credential) any {
	if c == nil {
		return nil
	}
	return c.Version
}

func storedAt(to, from journal.State, now int64) any {
	if to == journal.Stored && from != journal.Stored {
		return now
	}
	return nil
}

// remember brings the shop's row up to date: its credential, its last
// invitation, its current activation, and the sequence of its events, of which
// it returns the last one before those of this transition.
func (t *tx) remember(f facts, tr journal.Transition) (sequence int64, err error) {
	own := int64(0) // events of this shop
	for _, d := range tr.Publish {
		if d.Shop == f.key {
			own++
		}
	}
	if own == 0 && tr.Credential == nil && tr.Invited == nil && tr.Active == nil && tr.Current == 0 {
		return 0, nil
	}
	s, err := t.one("SELECT sequence, merchant_id, version, coalesce(active_version, 0) FROM shop WHERE id = $1", f.shop)
	if err != nil {
		return 0, err
	}
	sequence = s.int(0)
	if tr.Current != 0 && s.int(3) > tr.Current {
		return 0, journal.ErrOlderVersion
	}
	if c := tr.Credential; c != nil {
		if err := t.store(f, tr.Ref.Operation, s.text(1), *c); err != nil {
			return 0, err
		}
		if s.null(1) {
			if _, err := t.exec("UPDATE shop SET merchant_id = $1, version = $2 WHERE id = $3", c.MerchantID, c.Version, f.shop); err != nil {
				return 0, err
			}
		} else if _, err := t.exec("UPDATE shop SET version = greatest(version, $1) WHERE id = $2", c.Version, f.shop); err != nil {
			return 0, err
		}
	}
	if u := tr.Invited; u != nil {
		if _, err := t.exec(`UPDATE shop SET sequence = $5, invited_operation = $1, invited_at = $2, invitation_id = $3,
			invited_mac = (SELECT mac FROM operation_body WHERE id = $1),
			invited_event_time = (SELECT e.event_time FROM operation p JOIN event e ON e.id = p.event WHERE p.id = $1)
			WHERE id = $4`, tr.Ref.Operation, t.j.clock.stamp(u.At), u.InvitationID, f.shop, sequence+own); err != nil {
			return 0, err
		}
	}
	if u := tr.Active; u != nil {
		version, err := t.stored(tr)
		if err != nil {
			return 0, err
		}
		if version < s.int(3) {
			return 0, journal.ErrOlderVersion
		}
		if _, err := t.exec("UPDATE shop SET sequence = $1, active_operation = $2, active_at = $3, active_event = $4, active_version = $5 WHERE id = $6",
			sequence+own, tr.Ref.Operation, t.j.clock.stamp(u.At), eventID(u.Event), version, f.shop); err != nil {
			return 0, err
		}
		if err := t.beginReview(f, tr.Ref.Operation, version, tr); err != nil {
			return 0, err
		}
	}
	if own > 0 && tr.Invited == nil && tr.Active == nil {
		if _, err := t.exec("UPDATE shop SET sequence = $1 WHERE id = $2", sequence+own, f.shop); err != nil {
			return 0, err
		}
	}
	return sequence, nil
}

// stored finds the version of the credential that the operation's run stored.
func (t *tx) stored(tr journal.Transition) (int64, error) {
	if tr.Credential != nil {
		return tr.Credential.Version, nil
	}
	r, err := t.one("SELECT version FROM operation WHERE id = $1", tr.Ref.Operation)
	if err != nil {
		return 0, err
	}
	if r == nil || r.null(0) {
		return 0, fmt.Errorf("journal: operation %d has stored no credential to be made current", tr.Ref.Operation)
	}
	return r.int(0), nil
}

// store inserts a credential; merchant is the shop's merchant id so far.
func (t *tx) store(f facts, operation int64, merchant string, c journal.Credential) error {
	if c.Version < 1 || c.MerchantID == "" || c.Shop != f.key {
		return fmt.Errorf("journal: a credential of another shop, without version or without merchant id")
	}
	if merchant == "" {
		other, err := t.one("SELECT 1 FROM shop WHERE account = $1 AND merchant_id = $2", f.account, c.MerchantID)
		if err != nil {
			return err
		}
		if other != nil {
			return journal.ErrMerchantConflict
		}
	} else if merchant != c.MerchantID {
		return journal.ErrMerchantConflict
	}
	var key any
	if c.Sealed != nil {
		k, err := keyset.SealingKey(c.Sealed)
		if err != nil {
			return fmt.Errorf("journal: a credential that is not sealed: %w", err)
		}
		key = int64(k)
	}
	n, err := t.exec(`INSERT INTO credential (shop, version, operation, created, reference, merchant_id, secret, secret_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT DO NOTHING`, f.shop, c.Version, operation, t.now, c.Reference, c.MerchantID, c.Sealed, key)
	if err == nil && n == 0 {
		err = journal.ErrVersionTaken
	}
	return err
}

func eventID(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return id[:]
}
