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
func (u *Unit) deselect(keys []journal.ShopKey) error {
	if len(keys) == 0 {
		return nil
	}
	if u.j.db.Exclusive() {
		// The database updates its memory when the rows are saved.
		if err := u.flush(); err != nil {
			return err
		}
	}
	for _, k := range keys {
		shop, ok := u.intake.shops[k]
		if !ok {
			var err error
			if shop, err = u.tx.Invited(k); err != nil {
				return u.fail(err)
			}
			if shop == 0 {
				continue
			}
		}
		if err := u.deselectShop(shop); err != nil {
			return err
		}
	}
	return nil
}

func (u *Unit) deselectShop(shop int64) error {
	s, err := u.shops.get(u, shop)
	if err != nil {
		return err
	}
	if s != nil {
		s.RemindDue = 0
	}
	open, err := u.openOf(shop)
	if err != nil {
		return err
	}
	released := false
	for _, seen := range open {
		if seen.Kind != journal.Invite || seen.Doubt || !stored.Cancellable(seen.State) {
			continue
		}
		o, err := u.operations.get(u, seen.ID)
		if err != nil {
			return err
		}
		released = released || o.Lane == stored.LaneHeld
		u.supersede(o, reasonDeselected)
	}
	if released {
		return u.passLane(shop)
	}
	return nil
}
