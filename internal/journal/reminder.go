package journal

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Reminders record when a shop is to be reminded of an unanswered invitation. A shop has
// at most one such instant: an [InvitedUpdate] sets it. It ends when the shop becomes
// active, is disconnected or chooses another provider.
type Reminders interface {
	// Remind asks plan about at most limit shops whose reminder is due, the longest due
	// first, and carries out its plans in one transaction. A reminder that is due more
	// than horizon ahead counts as due, so that a clock that was set back does not delay
	// it for long. No two processes ask about the same reminder. Remind returns the drafts
	// that it queued, and is cheap enough to be called every second.
	Remind(ctx context.Context, limit int, horizon time.Duration, plan ReminderPlanner) (asked int, queued []Invitation, err error)
}

// An Invitation is the last invitation of a shop that is not active, when its reminder is
// due.
type Invitation struct {
	Shop         ShopKey
	At           time.Time // when it was sent
	InvitationID string
	Reminders    int  // its published reminders
	Ahead        bool // the next one is due more than the horizon ahead
	Answered     bool // an activation code of the shop was accepted since the event that asked for the invitation
	Newer        bool // another invitation of the shop is open
	// Of the operation.
	Operation   uuid.UUID
	Run         int
	EventID     string
	TraceParent string
	TraceState  string
}

// A ReminderPlan is what a due reminder leads to.
type ReminderPlan struct {
	Publish   []Draft   // the reminder; none: it is not needed, or not due
	Reminders int       // published or passed over by then; 0: as before
	Next      time.Time // when the next one is due; zero: none
}

// A ReminderPlanner decides about a due reminder. It must be pure, because a repeated
// transaction calls it again.
type ReminderPlanner func(Invitation) ReminderPlan
