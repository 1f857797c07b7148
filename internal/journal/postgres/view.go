package postgres

import (
	"bytes"
	"cmp"
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// maxQueuedCodes bounds how many of a shop's queued activations the planner
// sees: a shop that was sent thousands of codes must not slow down its intake.
const maxQueuedCodes = 64

// A shopView is what the planner sees, and whether the lane is taken.
type shopView struct {
	journal.ShopView
	busy bool
}

const (
	shopRead = `SELECT s.id, s.invited_at, s.invited_event_time, s.invited_mac, s.invitation_id,
			s.active_at, s.merchant_id, s.active_version, s.active_event, b.uuid
		FROM shop s LEFT JOIN operation_body b ON b.id = s.active_operation WHERE s.id = $1`

	viewColumns = `SELECT o.id, b.uuid, o.kind, o.state, o.reason, b.generation, o.run, o.attempts, o.doubt, b.mac, o.lane, o.shop, o.changed, (SELECT e.event_time FROM event e WHERE e.id = o.event), s.name, o.lane_order
		FROM operation o JOIN operation_body b ON b.id = o.id JOIN shop s ON s.id = o.shop WHERE `

	openRead = "(" + viewColumns + "o.shop = $1 AND o.lane IN (1, 3, 4)) UNION ALL (" +
		viewColumns + "o.shop = $1 AND o.lane = 2 AND o.kind = 1) UNION ALL (" +
		viewColumns + "o.shop = $1 AND o.lane = 2 AND o.kind = 2 ORDER BY o.lane_order, o.id LIMIT $2)"

	// sameRead finds the newest that owns one of the keys. Each key is looked up by
	// itself: with "mac = ANY" the server may read the whole of an account instead.
	sameRead = viewColumns + `o.id = ANY(ARRAY(SELECT k.id FROM unnest($3::bytea[]) AS m(mac) CROSS JOIN LATERAL
			(SELECT id FROM operation_body WHERE key_scope = $1 AND kind = $2 AND mac = m.mac OFFSET 0) k))
		ORDER BY b.generation DESC, o.id DESC`
)

// view reads the shop of an event.
func (t *tx) view(account, shop int64, e *journal.Event) (v shopView, err error) {
	scope := shop
	if e.Kind == journal.Activate {
		scope = account
	}
	as, err := t.together(
		ask{shopRead, []any{shop}},
		ask{openRead, []any{shop, int64(maxQueuedCodes)}},
		ask{sameRead, []any{scope, int64(e.Kind), e.SubjectMACs}})
	if err != nil {
		return v, err
	}
	v.Invited, v.Active = history(as[0].rows[0], e.SubjectMACs)
	order := make(map[int64]int64)
	for _, r := range as[1].rows {
		v.Open = append(v.Open, operationView(r, e))
		order[r.int(0)] = r.int(15)
		v.busy = v.busy || r.int(10) == stored.LaneHeld
	}
	slices.SortFunc(v.Open, func(a, b journal.OperationView) int {
		return cmp.Or(cmp.Compare(order[a.ID], order[b.ID]), cmp.Compare(a.ID, b.ID))
	})
	// Under each look-up key the newest generation, of those the newest.
	newest := make(map[string]journal.OperationView)
	for _, r := range as[2].rows {
		mac := string(r.blob(9))
		if _, ok := newest[mac]; !ok {
			newest[mac] = operationView(r, e)
		}
	}
	for _, o := range newest {
		if v.Same == nil || v.Same.ID < o.ID {
			v.Same = &o
		}
	}
	return v, nil
}

// history reads the columns of shopRead from the second on.
func history(r row, macs [][]byte) (i *journal.InvitedView, a *journal.ActiveView) {
	if !r.null(1) {
		i = &journal.InvitedView{At: wall(r.int(1)), EventTime: wall(r.int(2)), SameAddress: among(r.blob(3), macs), InvitationID: r.text(4)}
	}
	if !r.null(5) {
		a = &journal.ActiveView{At: wall(r.int(5)), MerchantID: r.text(6), Version: r.int(7), Event: asUUID(r.blob(8)), Operation: asUUID(r.blob(9))}
	}
	return i, a
}

func operationView(r row, e *journal.Event) journal.OperationView {
	return journal.OperationView{
		ID: r.int(0), UUID: asUUID(r.blob(1)), Kind: journal.Kind(r.int(2)), Shop: journal.ShopKey{Account: e.Shop.Account, Shop: r.text(14)}, State: journal.State(r.int(3)), // #nosec G115 -- our own numbers
		Reason: r.text(4), Generation: int(r.int(5)), Run: int(r.int(6)), Attempts: int(r.int(7)), Doubt: r.int(8) != 0,
		SameSubject: among(r.blob(9), e.SubjectMACs), Changed: wall(r.int(12)), EventTime: wall(r.int(13)),
	}
}

func among(mac []byte, macs [][]byte) bool {
	for _, m := range macs {
		if bytes.Equal(m, mac) {
			return true
		}
	}
	return false
}
