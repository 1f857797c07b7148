package onboarding

import (
	"fmt"
	"strconv"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// CheckRemindAfter returns what is wrong with the times of reminders, nil if nothing is.
func CheckRemindAfter(after []time.Duration) error {
	if len(after) > schemas.MaxReminders {
		return fmt.Errorf("has %d times: at most %d", len(after), schemas.MaxReminders)
	}
	for i := range after {
		if gap(after, i) <= 0 {
			return fmt.Errorf("is %v: each time must be longer than the one before", after[i])
		}
	}
	return nil
}

// FirstReminder returns when a shop that was invited at an instant is reminded first;
// zero: never. After are the times of the reminders since the invitation.
func FirstReminder(after []time.Duration, invited time.Time) time.Time {
	if len(after) == 0 {
		return time.Time{}
	}
	return invited.Add(after[0])
}

// PlanReminder decides what follows when a reminder of an invitation is due, or is due
// later than any reminder can be. The first case that fits decides.
func (p Publisher) PlanReminder(x journal.Invitation, after []time.Duration, now time.Time) journal.ReminderPlan {
	n := x.Reminders
	switch {
	case x.Answered, x.Newer:
		// A code came, or the shop is being invited again.
		return journal.ReminderPlan{}
	case n >= len(after):
		return journal.ReminderPlan{}
	case x.Ahead:
		// A clock was set back, or the times became shorter.
		return journal.ReminderPlan{Next: now.Add(gap(after, n))}
	}
	// Of those whose time has passed, the last one speaks for all.
	for n+1 < len(after) && !now.Before(x.At.Add(after[n+1])) {
		n++
	}
	if now.Sub(x.At.Add(after[n])) > after[len(after)-1] {
		// Reminders were off, or no worker ran: nobody is reminded of what was long ago.
		plan := journal.ReminderPlan{Reminders: n + 1}
		if n+1 < len(after) {
			plan.Next = x.At.Add(after[n+1])
		}
		return plan
	}
	draft := p.draft(schemas.EventID(x.Operation, x.Run, reminderType(n+1)), eventContext{
		shop: x.Shop, operation: x.Operation, event: x.EventID, traceParent: x.TraceParent, traceState: x.TraceState,
	}, now, schemas.Unanswered{
		ShopID: x.Shop.Shop, PartnerAccount: x.Shop.Account, InvitationID: x.InvitationID, InvitedAt: x.At.UTC(), Reminder: n + 1,
	})
	if !Publishable(draft) {
		return journal.ReminderPlan{}
	}
	plan := journal.ReminderPlan{Publish: []journal.Draft{draft}, Reminders: n + 1}
	if n+1 < len(after) {
		// Also after an outage the shop gets no two reminders at once.
		plan.Next = now.Add(gap(after, n+1))
	}
	return plan
}

// gap is the time from the reminder before to one, or from the invitation to the first.
func gap(after []time.Duration, n int) time.Duration {
	if n == 0 {
		return after[0]
	}
	return after[n] - after[n-1]
}

// reminderType distinguishes the ids of an invitation's reminders.
func reminderType(n int) string { return schemas.TypeUnanswered + "/" + strconv.Itoa(n) }
