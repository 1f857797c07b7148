package steps

import (
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

// stageLeased is the stage of operations in the states Claimed and Sending. Their
// due_at is the end of the lease.
const stageLeased = 3

// enter moves an operation into a state, due at the given time. It is the only
// place that sets state, stage, due_at, lane and leased; they belong together.
// [Unit.enterLeased] is for operations that remain leased.
func (u *Unit) enter(o *rows.Operation, s journal.State, due int64) {
	if o.State != s || !s.Open() {
		o.Changed = u.now
	}
	o.State, o.Lane, o.LeaseHeld = s, lane(s), false
	switch {
	case s == journal.Claimed || s == journal.Sending:
		o.Stage, o.DueAt = stageLeased, due
	case !s.Open() && o.Late: // a late response waits to be compared
		o.Stage, o.DueAt = int64(journal.Settle), u.now
	default:
		if o.Stage, o.DueAt = int64(journal.StageOf(s)), due; o.Stage == 0 {
			o.DueAt = 0
		}
	}
	u.signals.Work = u.signals.Work || o.Stage == int64(journal.Call) || o.Stage == int64(journal.Settle)
}

// lease leases an operation until end without a change of its state.
func lease(o *rows.Operation, end int64) { o.LeaseHeld, o.DueAt = true, end }

// enterLeased moves an operation into a state and leases it until the given time.
func (u *Unit) enterLeased(o *rows.Operation, s journal.State, until int64) {
	work := u.signals.Work
	u.enter(o, s, until)
	lease(o, until)
	u.signals.Work = work
}

// lane returns the column lane for a state, 0 for one that has ended.
func lane(s journal.State) int64 {
	n, _ := stored.Lane(s).(int64)
	return n
}

// supersede ends an operation that another one replaces.
func (u *Unit) supersede(o *rows.Operation, reason string) {
	o.Reason = reason
	u.enter(o, journal.Superseded, 0)
}

const (
	laneHeld   Query = "SELECT EXISTS (SELECT 1 FROM operation WHERE shop = $1 AND lane = 1) AS found"
	laneQueued Query = "SELECT EXISTS (SELECT 1 FROM operation WHERE shop = $1 AND lane = 2) AS found"
	// laneHeads finds the next operation of each shop whose lane no operation holds: the
	// first queued one in the order in which their runs began, else the first that
	// waits behind the queued ones.
	laneHeads Query = "SELECT " + operationColumns + ` FROM operation WHERE id = ANY(ARRAY(SELECT o.id FROM unnest($1::bigint[]) AS released(shop) CROSS JOIN LATERAL (
			SELECT id FROM (
				(SELECT id, lane, lane_order FROM operation WHERE shop = released.shop AND lane = 2 AND kind = 1 ORDER BY lane_order, id LIMIT 1) UNION ALL
				(SELECT id, lane, lane_order FROM operation WHERE shop = released.shop AND lane = 2 AND kind = 2 ORDER BY lane_order, id LIMIT 1) UNION ALL
				(SELECT id, lane, lane_order FROM operation WHERE shop = released.shop AND lane = 4 ORDER BY lane_order, id LIMIT 1)) heads
			ORDER BY lane, lane_order, id LIMIT 1) o
		WHERE NOT EXISTS (SELECT 1 FROM operation h WHERE h.shop = released.shop AND h.lane = 1))) ORDER BY id FOR NO KEY UPDATE
-- sqlite:
SELECT (SELECT id FROM (
			SELECT id, 2 AS lane, lane_order FROM (SELECT id, lane_order FROM operation WHERE shop = released.value AND lane = 2 AND kind = 1 ORDER BY lane_order, id LIMIT 1) UNION ALL
			SELECT id, 2, lane_order FROM (SELECT id, lane_order FROM operation WHERE shop = released.value AND lane = 2 AND kind = 2 ORDER BY lane_order, id LIMIT 1) UNION ALL
			SELECT id, 4, lane_order FROM (SELECT id, lane_order FROM operation WHERE shop = released.value AND lane = 4 ORDER BY lane_order, id LIMIT 1))
		ORDER BY lane, lane_order, id LIMIT 1) AS id FROM json_each($1) AS released
	WHERE EXISTS (SELECT 1 FROM operation WHERE shop = released.value AND lane BETWEEN 2 AND 4) AND NOT EXISTS (SELECT 1 FROM operation WHERE shop = released.value AND lane = 1)`
	// lanesQueued finds the shops with an operation that waits for the lane.
	lanesQueued Query = `SELECT x.shop AS id FROM unnest($1::bigint[]) AS x(shop) WHERE EXISTS (SELECT 1 FROM operation WHERE shop = x.shop AND lane IN (2, 4))
-- sqlite:
`
)

// held reports whether an operation holds a shop's lane. A lane that this request has
// released counts as held, because the next operation gets it behind the request.
func (u *Unit) held(shop int64) bool {
	if slices.Contains(u.released, shop) {
		return true
	}
	return firstInt(u, laneHeld, shop) != 0
}

func (u *Unit) queued(shop int64) bool { return firstInt(u, laneQueued, shop) != 0 }

// releaseLane releases a shop's lane. The shop's next operation is planned behind the
// request: before the next one that may see it, at the latest at the end of the
// transaction.
func (u *Unit) releaseLane(shop int64) { u.released = append(u.released, shop) }

// askQueued queries which of the shops have an operation that waits for the lane. Most
// have none, so that nothing is left to do when the lane is released.
func (u *Unit) askQueued(shops []int64) Ask {
	for _, s := range shops {
		u.unqueued[s] = true
	}
	return askingInts(lanesQueued, func(id int64) { delete(u.unqueued, id) }, shops)
}

// seesReleased reports whether a request may see an operation of a shop whose lane an
// earlier request has released. Requests for operations of other shops do not, so that
// one query plans the next operations of many shops.
func (u *Unit) seesReleased(r *Request) bool {
	if len(u.released) == 0 {
		return false
	}
	if n := &r.Needs; len(n.Shops)+len(n.ShopIDs)+len(n.Invitees) > 0 {
		return true
	}
	return slices.ContainsFunc(r.Needs.Operations, func(id int64) bool {
		if o, ok := u.operations.known(id); ok {
			return slices.Contains(u.released, o.Shop)
		}
		shop, ok := u.tx.ShopOf(id)
		return !ok || slices.Contains(u.released, shop)
	})
}

// planReleased plans the next operation of each shop whose lane was released.
func (u *Unit) planReleased() {
	if len(u.released) == 0 {
		return
	}
	for _, e := range u.operations.touched {
		if o := &e.row; o.Lane == stored.LaneQueued || o.Lane == stored.LaneLast {
			delete(u.unqueued, o.Shop)
		}
	}
	shops := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(u.released))), func(shop int64) bool { return u.unqueued[shop] })
	u.released = u.released[:0]
	if len(shops) == 0 {
		return
	}
	for _, o := range u.laneHeads(shops) {
		u.enter(o, journal.Planned, u.now)
	}
}

// laneHeads loads the next operation of each shop whose lane no operation holds.
func (u *Unit) laneHeads(shops []int64) []*rows.Operation {
	if u.j.lists {
		return loadRows(u, &u.operations, laneHeads, shops)
	}
	return u.operations.list(u, ints(u, laneHeads, shops))
}
