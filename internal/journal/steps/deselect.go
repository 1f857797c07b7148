package steps

import (
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// reasonDeselected is the reason of invitations that were canceled because the shop
// chose another provider.
const reasonDeselected = "deselected"

// deselect cancels the invitations of shops that were not sent, and their reminders. It
// reads nothing for a shop without an open invitation and without reminders.
func (u *Unit) deselect(keys []journal.ShopKey) {
	if len(keys) == 0 {
		return
	}
	if u.j.db.Exclusive() {
		// The database updates its memory when the rows are saved.
		u.flush()
	}
	for _, k := range keys {
		shop, ok := u.intake.shops[k]
		if !ok {
			var err error
			shop, err = u.tx.Invited(k)
			u.check(err)
			if shop == 0 {
				continue
			}
		}
		u.deselectShop(shop)
	}
}

func (u *Unit) deselectShop(shop int64) {
	if s := u.shops.get(u, shop); s != nil {
		s.RemindDue = 0
	}
	open := u.openOf(shop)
	released := false
	for _, seen := range open {
		if seen.Kind != journal.Invite || seen.Doubt || !stored.Cancellable(seen.State) {
			continue
		}
		o := u.operations.get(u, seen.ID)
		released = released || o.Lane == stored.LaneHeld
		u.supersede(o, reasonDeselected)
	}
	if released {
		u.passLane(shop)
	}
}
