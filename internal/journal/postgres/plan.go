package postgres

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/internal/keyset"
)

// A plan is what the planner said, and what it was said about.
type plan struct {
	journal.Plan
	event     *journal.Event
	eventID   int64
	operation int64 // the id of a new one
	account   int64
	shop      int64
	view      *journal.ShopView
}

// carryOut does what a plan says and tells where the event went. A plan that
// does not fit the state is the planner's mistake and fails the batch.
func (t *tx) carryOut(p plan, busy bool) (exit, operation int64, err error) {
	exit = stored.ExitKept
	if len(p.Publish) > 0 || p.Republish != uuid.Nil {
		exit = stored.ExitAnswered
	}
	freed, err := t.cancelPlanned(p)
	if err != nil {
		return 0, 0, err
	}
	if freed {
		if err := t.release(p.shop); err != nil {
			return 0, 0, err
		}
		if busy, err = t.busy(p.shop); err != nil {
			return 0, 0, err
		}
	}
	if p.Behind != 0 {
		if err := t.stepBehind(p); err != nil {
			return 0, 0, err
		}
		busy = false // that one held the lane
	}
	switch {
	case p.New != nil:
		exit = stored.ExitPlanned
		operation, err = t.insert(p, busy)
	case p.Rerun != 0:
		exit, operation = stored.ExitRerun, p.Rerun
		err = t.rerun(p)
	case p.Join != 0:
		exit, operation = stored.ExitJoined, p.Join
		err = t.join(p)
	}
	if err != nil {
		return 0, 0, err
	}
	if err := t.emit(p.Publish, p.shop, operation); err != nil {
		return 0, 0, err
	}
	if p.Republish != uuid.Nil {
		if err := t.again(p.shop, p.Republish[:]); err != nil {
			return 0, 0, err
		}
	}
	return exit, operation, nil
}

// cancelPlanned supersedes operations that the planner has seen as not sent. It
// tells whether one of them held the lane.
func (t *tx) cancelPlanned(p plan) (held bool, err error) {
	for _, id := range p.Cancel {
		i := slices.IndexFunc(p.view.Open, func(o journal.OperationView) bool { return o.ID == id })
		if i < 0 || !stored.Cancellable(p.view.Open[i].State) {
			return false, fmt.Errorf("the plan cancels operation %d, which cannot be", id)
		}
		held = held || p.view.Open[i].State != journal.Queued
	}
	if len(p.Cancel) == 0 {
		return false, nil
	}
	return held, t.supersede(p.Cancel, p.CancelReason)
}

// stepBehind takes the lane from an operation that is Planned; one that was
// claimed in the meantime is fenced off before it is sent.
func (t *tx) stepBehind(p plan) error {
	n, err := t.exec("UPDATE operation SET state = $1, stage = 0, due_at = NULL, lane = $2, changed = $3 WHERE id = $4 AND shop = $5 AND state IN (2, 4)",
		int64(journal.Queued), stored.LaneLast, t.now, p.Behind, p.shop)
	if err == nil && n == 0 {
		err = fmt.Errorf("the plan puts operation %d behind, which is not planned", p.Behind)
	}
	return err
}

func (t *tx) supersede(ids []int64, reason string) error {
	// A late receipt of an earlier run may wait to be compared.
	_, err := t.exec(`UPDATE operation SET state = $1, stage = 2 * late, due_at = CASE late WHEN 0 THEN NULL ELSE $3::bigint END,
		lane = NULL, lease_held = 0, reason = $2, changed = $3 WHERE id = ANY($4)`,
		int64(journal.Superseded), reason, t.now, ids)
	return err
}

// insert adds the plan's new operation.
func (t *tx) insert(p plan, busy bool) (int64, error) {
	e, n := p.event, p.New
	key, err := keyset.SealingKey(e.Sealed)
	if err != nil {
		return 0, fmt.Errorf("an event whose address or code is not sealed: %w", err)
	}
	state, reason := journal.Planned, ""
	scope := any(p.shop)
	if e.Kind == journal.Activate {
		scope = p.account
	}
	switch {
	case n.Attention != "":
		state, reason, scope = journal.Attention, n.Attention, nil
	case busy:
		state = journal.Queued
	}
	stage, due := stored.Stage(state, t.now)
	r, err := t.one(`WITH o AS (INSERT INTO operation (id, account, shop, kind, state, stage, due_at, lane, run, event, planned, changed, reason, lane_order, closed)
			SELECT $17, $1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $9, $10, $18, `+closedTotal("$9")+` FROM account WHERE id = $1 RETURNING id)
		INSERT INTO operation_body (id, uuid, kind, mac, generation, key_scope, created, subject, subject_key)
		SELECT id, $11, $3, $12, $13, $14, $9, $15, $16 FROM o RETURNING id`,
		p.account, p.shop, int64(e.Kind), int64(state), stage, due, stored.Lane(state), p.eventID, t.now, reason,
		n.UUID[:], e.SubjectMACs[0], int64(n.Generation), scope, e.Sealed, int64(key), p.operation, stored.LaneOrder(p.eventID))
	if err != nil {
		return 0, fmt.Errorf("the plan's operation %s: %w", n.UUID, err)
	}
	t.woken = t.woken || stage != 0
	return r.int(0), nil
}

// rerun starts an ended operation again with the next run.
func (t *tx) rerun(p plan) error {
	r, err := t.one("SELECT state, shop FROM operation WHERE id = $1", p.Rerun)
	if err != nil {
		return err
	}
	if r == nil || r.int(1) != p.shop || journal.State(r.int(0)).Open() { // #nosec G115 -- our own numbers
		return fmt.Errorf("the plan runs operation %d again, which has not ended", p.Rerun)
	}
	busy, err := t.busy(p.shop)
	if err != nil {
		return err
	}
	state := journal.Planned
	if busy {
		state = journal.Queued
	}
	stage, due := stored.Stage(state, t.now)
	t.woken = t.woken || stage != 0
	_, err = t.exec(`UPDATE operation SET state = $1, stage = $2, due_at = $3, lane = $4, run = run + 1, waits = 0, event = $5, planned = $6, changed = $7,
		receipt = NULL, received = 0, version = NULL, stored_at = NULL, reason = '',
		lane_order = $9, closed = (SELECT `+closedTotal("$6")+` FROM account WHERE id = operation.account) WHERE id = $8`,
		int64(state), stage, due, stored.Lane(state), p.eventID, t.now, t.now, p.Rerun, stored.LaneOrder(p.eventID))
	return err
}

// join makes sure that the operation that the event joins is one of the shop's.
func (t *tx) join(p plan) error {
	r, err := t.one("SELECT shop FROM operation WHERE id = $1", p.Join)
	if err != nil {
		return err
	}
	if r == nil || r.int(0) != p.shop {
		return fmt.Errorf("the plan joins operation %d, which is not the shop's", p.Join)
	}
	return nil
}
