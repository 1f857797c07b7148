package sqlite

import (
	"bytes"
	"cmp"
	"fmt"
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
		FROM shop s LEFT JOIN operation_body b ON b.id = s.active_operation WHERE s.id = ?`

	viewColumns = `SELECT o.id, b.uuid, o.kind, o.state, o.reason, b.generation, o.run, o.attempts, o.doubt, b.mac, o.lane, o.shop, o.changed, (SELECT e.event_time FROM event e WHERE e.id = o.event), o.lane_order
		FROM operation o CROSS JOIN operation_body b ON b.id = o.id WHERE `

	openRead = viewColumns + "o.shop = ?1 AND o.lane = 1 UNION ALL " +
		viewColumns + "o.shop = ?1 AND o.lane = 4 UNION ALL " +
		viewColumns + "o.shop = ?1 AND o.lane = 3 UNION ALL " +
		viewColumns + "o.shop = ?1 AND o.lane = 2 AND o.kind = 1 UNION ALL " +
		"SELECT * FROM (" + viewColumns + "o.shop = ?1 AND o.lane = 2 AND o.kind = 2 ORDER BY o.lane_order, o.id LIMIT ?2)"

	sameRead = `SELECT o.id, b.uuid, o.kind, o.state, o.reason, b.generation, o.run, o.attempts, o.doubt, b.mac, o.lane, o.shop, o.changed, (SELECT e.event_time FROM event e WHERE e.id = o.event), o.lane_order
		FROM operation_body b CROSS JOIN operation o ON o.id = b.id WHERE b.id = ?`
)

// view reads the shop of an event, made when it is new.
func (t *tx) view(account int64, e *journal.Event) (shop int64, v shopView, err error) {
	// Narrow looks first: most shops and most keys are new.
	r, err := t.one("SELECT id FROM shop WHERE account = ? AND name = ?", account, e.Shop.Shop)
	if err != nil {
		return 0, v, err
	}
	fresh := r == nil
	if fresh {
		if shop, err = t.newShop(account, e.Shop.Shop); err != nil {
			return 0, v, err
		}
	} else {
		shop = r.int(0)
		if r, err = t.one(shopRead, shop); err != nil {
			return 0, v, err
		}
		v.Invited, v.Active = history(r, e.SubjectMACs)
		order := make(map[int64]int64)
		err = t.each(openRead, in{shop, maxQueuedCodes}, func(r row) error {
			v.Open = append(v.Open, operationView(r, e.Shop, e.SubjectMACs))
			order[r.int(0)] = r.int(14)
			v.busy = v.busy || r.int(10) == stored.LaneHeld
			return nil
		})
		if err != nil {
			return 0, v, err
		}
		slices.SortFunc(v.Open, func(a, b journal.OperationView) int {
			return cmp.Or(cmp.Compare(order[a.ID], order[b.ID]), cmp.Compare(a.ID, b.ID))
		})
	}
	if fresh && e.Kind == journal.Invite {
		return shop, v, nil
	}
	v.Same, err = t.same(account, shop, e)
	return shop, v, err
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

// same finds the operation that owns the event's key, under whichever look-up
// key it was made.
func (t *tx) same(account, shop int64, e *journal.Event) (*journal.OperationView, error) {
	scope := shop
	if e.Kind == journal.Activate {
		scope = account
	}
	var found *journal.OperationView
	for _, mac := range e.SubjectMACs {
		r, err := t.one("SELECT id FROM operation_body WHERE key_scope = ? AND kind = ? AND mac = ? ORDER BY generation DESC LIMIT 1", scope, int64(e.Kind), mac)
		if err != nil {
			return nil, err
		}
		if r == nil || found != nil && found.ID > r.int(0) {
			continue
		}
		if r, err = t.one(sameRead, r.int(0)); err != nil {
			return nil, err
		}
		o := operationView(r, e.Shop, e.SubjectMACs)
		found = &o
		if r.int(11) == shop {
			continue
		}
		s, err := t.one("SELECT name FROM shop WHERE id = ?", r.int(11))
		if err != nil {
			return nil, err
		}
		found.Shop.Shop = s.text(0)
	}
	return found, nil
}

func operationView(r row, k journal.ShopKey, macs [][]byte) journal.OperationView {
	return journal.OperationView{
		ID: r.int(0), UUID: asUUID(r.blob(1)), Kind: journal.Kind(r.int(2)), Shop: k, State: journal.State(r.int(3)), // #nosec G115 -- our own numbers
		Reason: r.text(4), Generation: int(r.int(5)), Run: int(r.int(6)), Attempts: int(r.int(7)), Doubt: r.int(8) != 0,
		SameSubject: among(r.blob(9), macs), Changed: wall(r.int(12)), EventTime: wall(r.int(13)),
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

// shopID finds a shop, made when it is new.
func (t *tx) shopID(k journal.ShopKey) (int64, error) {
	account, ok := t.j.writer.accounts[k.Account]
	if !ok {
		return 0, fmt.Errorf("%w: account %q", journal.ErrNotFound, k.Account)
	}
	r, err := t.one("SELECT id FROM shop WHERE account = ? AND name = ?", account, k.Shop)
	if err != nil {
		return 0, err
	}
	if r == nil {
		return t.newShop(account, k.Shop)
	}
	return r.int(0), nil
}

func (t *tx) newShop(account int64, name string) (int64, error) {
	id := next(&t.j.writer.ids.shop)
	_, err := t.exec("INSERT INTO shop (id, account, name, sequence, version) VALUES (?1, ?2, ?3, ?4, ?4)", id, account, name, t.j.writer.floor)
	return id, err
}
