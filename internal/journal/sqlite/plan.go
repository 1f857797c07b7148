package sqlite

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
	event   *journal.Event
	eventID int64
	account int64
	shop    int64
	view    *journal.ShopView
}

// carryOut does what a plan says and tells where the event went. A plan that
// does not fit the state is the planner's mistake and fails the batch.
func (t *tx) carryOut(p plan, busy bool) (exit, operation int64, err error) {
	exit = stored.ExitKept
	if len(p.Publish) > 0 || p.Republish != uuid.Nil {
		exit = stored.ExitAnswered
	}
	freed := false
	for _, id := range p.Cancel {
		held, err := t.cancelPlanned(p, id)
		if err != nil {
			return 0, 0, err
		}
		freed = freed || held
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

// cancelPlanned supersedes an operation that the planner has seen as one that
// was not sent.
func (t *tx) cancelPlanned(p plan, id int64) (held bool, err error) {
	i := slices.IndexFunc(p.view.Open, func(o journal.OperationView) bool { return o.ID == id })
	if i < 0 || !stored.Cancellable(p.view.Open[i].State) {
		return false, fmt.Errorf("the plan cancels operation %d, which cannot be", id)
	}
	if p.view.Open[i].Kind == journal.Invite {
		t.invitation(p.event.Shop, false)
	}
	return p.view.Open[i].State != journal.Queued, t.supersede(id, p.CancelReason)
}

// stepBehind takes the lane from an operation that is Planned; one that was
// claimed in the meantime is fenced off before it is sent.
func (t *tx) stepBehind(p plan) error {
	n, err := t.exec("UPDATE operation SET state = ?, stage = 0, due_at = NULL, lane = ?, changed = ? WHERE id = ? AND shop = ? AND state IN (2, 4)",
		int64(journal.Queued), stored.LaneLast, t.now, p.Behind, p.shop)
	if err == nil && n == 0 {
		err = fmt.Errorf("the plan puts operation %d behind, which is not planned", p.Behind)
	}
	return err
}

func (t *tx) supersede(id int64, reason string) error {
	// A late receipt of an earlier run may wait to be compared.
	_, err := t.exec(`UPDATE operation SET state = ?1, stage = 2 * late, due_at = CASE late WHEN 0 THEN NULL ELSE ?3 END, lane = NULL, lease_held = 0, reason = ?2, changed = ?3
		WHERE id = ?4`, int64(journal.Superseded), reason, t.now, id)
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
	id := next(&t.j.writer.ids.operation)
	if _, err := t.exec(`INSERT INTO operation (id, account, shop, kind, state, stage, due_at, lane, run, event, planned, changed, closed, reason, lane_order)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)`,
		id, p.account, p.shop, int64(e.Kind), int64(state), stage, due, stored.Lane(state), p.eventID, t.now, t.now, t.closedTotal(p.account), reason, stored.LaneOrder(p.eventID)); err != nil {
		return 0, err
	}
	if _, err := t.exec(`INSERT INTO operation_body (id, uuid, kind, mac, generation, key_scope, created, subject, subject_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, n.UUID[:], int64(e.Kind), e.SubjectMACs[0], n.Generation, scope, t.now, e.Sealed, int64(key)); err != nil {
		return 0, fmt.Errorf("the plan's operation %s: %w", n.UUID, err)
	}
	t.woken = t.woken || stage != 0
	if e.Kind == journal.Invite && state.Open() {
		t.invitation(e.Shop, true)
	}
	return id, nil
}

// rerun starts an ended operation again with the next run.
func (t *tx) rerun(p plan) error {
	r, err := t.one("SELECT state, shop, kind FROM operation WHERE id = ?", p.Rerun)
	if err != nil {
		return err
	}
	if r == nil || r.int(1) != p.shop || journal.State(r.int(0)).Open() { // #nosec G115 -- our own numbers
		return fmt.Errorf("the plan runs operation %d again, which has not ended", p.Rerun)
	}
	if journal.Kind(r.int(2)) == journal.Invite { // #nosec G115 -- our own numbers
		t.invitation(p.event.Shop, true)
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
	_, err = t.exec(`UPDATE operation SET state = ?, stage = ?, due_at = ?, lane = ?, run = run + 1, waits = 0, event = ?, planned = ?, changed = ?, closed = ?,
		receipt = NULL, received = 0, version = NULL, stored_at = NULL, reason = '', lane_order = ? WHERE id = ?`,
		int64(state), stage, due, stored.Lane(state), p.eventID, t.now, t.now, t.closedTotal(p.account), stored.LaneOrder(p.eventID), p.Rerun)
	return err
}

// join makes sure that the operation that the event joins is one of the shop's.
func (t *tx) join(p plan) error {
	r, err := t.one("SELECT shop FROM operation WHERE id = ?", p.Join)
	if err != nil {
		return err
	}
	if r == nil || r.int(0) != p.shop {
		return fmt.Errorf("the plan joins operation %d, which is not the shop's", p.Join)
	}
	return nil
}
