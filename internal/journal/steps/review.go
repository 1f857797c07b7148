package steps

import (
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const acceptedAgain Query = "UPDATE account SET refused_in_row = 0 WHERE id = $1 AND refused_in_row > 0"

// beginReview follows a shop's new current credentials.
func (u *Unit) beginReview(o *rows.Operation, tr *journal.Transition) error {
	r, err := u.reviews.get(u, o.Shop)
	if err != nil {
		return err
	}
	if r != nil && r.Operation != o.ID {
		before, err := u.operations.get(u, r.Operation)
		if err != nil {
			return err
		}
		if before != nil {
			if err := u.moveEnded(before, tr.Active.Replaced); err != nil {
				return err
			}
			u.seenToWork(before)
		}
	}
	state := journal.CredentialPending
	if tr.Verified {
		state = journal.CredentialVerified
		u.later(acceptedAgain, o.Account)
	}
	next := rows.Review{Shop: o.Shop, Account: o.Account, Version: o.Version, Operation: o.ID, State: state, Routine: tr.Verified, DueAt: u.stampOrNow(tr.Active.Review)}
	if r == nil {
		u.reviews.add(u, o.Shop, next)
		return nil
	}
	next.Claim = r.Claim + 1
	if r.Version == next.Version {
		next.Told = r.Told
	}
	*r = next
	return nil
}

// seenToWork ends what an activation's receipts were kept for.
func (u *Unit) seenToWork(o *rows.Operation) {
	if o.Verified == 0 {
		o.Verified = u.now
	}
}

// moveEnded moves an activation that has ended. A late receipt that waits to be
// compared, and whoever does that, stay.
func (u *Unit) moveEnded(o *rows.Operation, m *journal.ActivationMove) error {
	if m == nil {
		return nil
	}
	if m.From.Open() || m.To.Open() {
		return fmt.Errorf("journal: a review moves only what has ended, not from %v to %v", m.From, m.To)
	}
	if o.State == m.From && (m.Was == "" || o.Reason == m.Was) {
		o.State, o.Reason, o.Changed = m.To, m.Reason, u.now
	}
	return nil
}
