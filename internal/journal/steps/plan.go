package steps

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/internal/keyset"
)

// A plan is the planner's decision with the rows that it is about.
type plan struct {
	journal.Plan
	event *journal.Event
	row   *rows.Event // of the event, to be inserted
	shop  *rows.Shop
	view  view
}

// carryOut carries out a plan and sets the exit of the event. A plan that does not fit the
// state is a bug of the planner and fails the batch.
func (in *ingestion) carryOut(p *plan) error {
	e := p.row
	e.Exit = stored.ExitKept
	if len(p.Publish) > 0 || p.Republish != uuid.Nil {
		e.Exit = stored.ExitAnswered
	}
	if err := in.cancelPlanned(p); err != nil {
		return err
	}
	if p.Behind != 0 {
		if err := in.stepBehind(p); err != nil {
			return err
		}
	}
	var err error
	switch {
	case p.New != nil:
		e.Exit, e.Operation = stored.ExitPlanned, e.ID
		err = in.begin(p)
	case p.Rerun != 0:
		e.Exit, e.Operation = stored.ExitRerun, p.Rerun
		err = in.rerun(p)
	case p.Join != 0:
		e.Exit, e.Operation = stored.ExitJoined, p.Join
		err = in.join(p)
	}
	if err != nil {
		return err
	}
	if p.Behind != 0 {
		// The lane is free if the plan began no operation that holds it.
		in.passLane(p.shop.ID)
	}
	if len(p.Publish) > 0 || p.Republish != uuid.Nil {
		in.answers = append(in.answers, answer{p.shop.ID, e.Operation, p.Publish, p.Republish})
	}
	return nil
}

// cancelPlanned supersedes operations that were not sent. If one of them held the
// lane, the next operation gets it in the same transaction.
func (in *ingestion) cancelPlanned(p *plan) error {
	released := false
	for _, id := range p.Cancel {
		i := slices.IndexFunc(p.view.open, func(o *rows.Operation) bool { return o.ID == id })
		if i < 0 || !stored.Cancellable(p.view.Open[i].State) {
			return fmt.Errorf("the plan cancels operation %d, which cannot be canceled", id)
		}
		o := in.operations.get(in.Unit, id)
		released = released || o.Lane == stored.LaneHeld
		in.supersede(o, p.CancelReason)
	}
	if released {
		in.passLane(p.shop.ID)
	}
	return nil
}

// passLane plans the next operation of a shop if no operation holds its lane.
func (u *Unit) passLane(shop int64) {
	open := u.openOf(shop)
	var next *rows.Operation
	for _, o := range open {
		switch {
		case o.Lane == stored.LaneHeld:
			return
		case o.Lane == stored.LaneQueued && (next == nil || next.Lane == stored.LaneLast), o.Lane == stored.LaneLast && next == nil:
			next = o
		}
	}
	if (next == nil || !queuedCode(next)) && u.intake.codes[shop] >= maxQueuedCodes {
		u.releaseLane(shop) // a queued code that was not loaded may come before it
		return
	}
	if next == nil {
		return
	}
	u.enter(u.operations.get(u, next.ID), journal.Planned, u.now)
}

// stepBehind releases the lane of an operation that is Planned. A worker that has
// claimed the operation meanwhile is fenced off before it sends.
func (in *ingestion) stepBehind(p *plan) error {
	o := in.operations.get(in.Unit, p.Behind)
	if o == nil || o.Shop != p.shop.ID || o.State != journal.Planned && o.State != journal.Claimed {
		return fmt.Errorf("the plan puts operation %d behind, which is not planned", p.Behind)
	}
	in.enter(o, journal.Queued, 0)
	o.Lane = stored.LaneLast
	return nil
}

// laneTaken reports whether an operation holds a shop's lane. A lane that this request
// has released counts as held.
func (u *Unit) laneTaken(shop int64) bool {
	if slices.Contains(u.released, shop) {
		return true
	}
	return slices.ContainsFunc(u.openOf(shop), func(o *rows.Operation) bool { return o.Lane == stored.LaneHeld })
}

// begin inserts the plan's new operation.
func (in *ingestion) begin(p *plan) error {
	u, e, n, id := in.Unit, p.event, p.New, p.row.ID
	key, err := keyset.SealingKey(e.Sealed)
	if err != nil {
		return fmt.Errorf("the event's address or code is not sealed: %w", err)
	}
	state := in.freeState(p)
	scope := keyScope(e.Kind, p.shop.Account, p.shop.ID)
	if n.Attention != "" {
		state, scope = journal.Attention, 0
	}
	o := u.operations.add(u, id, rows.Operation{ID: id, Account: p.shop.Account, Shop: p.shop.ID, Kind: e.Kind, Run: 1, Event: id, LaneOrder: stored.LaneOrder(id),
		OpenTime: u.openTotal(p.shop.Account), Planned: u.now, Reason: n.Attention})
	u.enter(o, state, u.now)
	r := p.row
	r.UUID, r.MAC, r.Generation, r.KeyScope, r.Subject, r.SubjectKey = n.UUID[:], e.SubjectMACs[0], int64(n.Generation), scope, e.Sealed, int64(key)
	u.intake.about[id] = &about{uuid: n.UUID, generation: int64(n.Generation), mac: e.SubjectMACs[0], shop: p.shop.Name}
	if scope != 0 {
		u.owns(subjectKey{scope, e.Kind, string(e.SubjectMACs[0])}, id)
		u.addOpen(o)
	}
	return nil
}

// freeState returns the state in which a run begins.
func (in *ingestion) freeState(p *plan) journal.State {
	if in.laneTaken(p.shop.ID) {
		return journal.Queued
	}
	return journal.Planned
}

// rerun begins the next run of an ended operation.
func (in *ingestion) rerun(p *plan) error {
	o := in.operations.get(in.Unit, p.Rerun)
	if o == nil || o.Shop != p.shop.ID || o.State.Open() {
		return fmt.Errorf("the plan runs operation %d again, which has not ended", p.Rerun)
	}
	key, err := keyset.SealingKey(p.event.Sealed)
	if err != nil {
		return fmt.Errorf("the event's address or code is not sealed: %w", err)
	}
	in.later(subjectMissing, o.ID, p.event.Sealed, int64(key), p.event.SubjectMACs[0])
	state := in.freeState(p)
	o.OpenTime = in.openTotal(o.Account)
	o.Run, o.Waits, o.Event, o.Planned, o.LaneOrder = o.Run+1, 0, p.row.ID, in.now, stored.LaneOrder(p.row.ID)
	o.Receipt, o.Received, o.Version, o.StoredAt, o.Reason = 0, false, 0, 0, ""
	in.enter(o, state, in.now)
	in.addOpen(o)
	return nil
}

// join checks that the operation that the event joins belongs to the shop.
func (in *ingestion) join(p *plan) error {
	o := in.operation(p.Join)
	if o == nil {
		o = in.operations.get(in.Unit, p.Join)
	}
	if o == nil || o.Shop != p.shop.ID {
		return fmt.Errorf("the plan joins operation %d, which is not the shop's", p.Join)
	}
	return nil
}
