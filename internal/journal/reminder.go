package journal

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Reminders are the journal's part that knows when a shop is to be reminded of an
// invitation that it did not answer. A shop has at most one such instant: an
// [InvitedUpdate] sets it, and it ends when the shop becomes active or is disconnected,
// and when it chooses another provider.
type Reminders interface {
	// Remind asks plan about at most limit shops whose reminder is due, the longest due
	// first, and carries out its plans in one transaction. A reminder that is due more
	// than horizon ahead counts as due as well, so that a clock that went back does not
	// put it off for long. Several processes never ask about one reminder twice. It
	// returns the drafts that it queued, and is cheap enough to be called every second.
	Remind(ctx context.Context, limit int, horizon time.Duration, plan ReminderPlanner) (asked int, queued []Invitation, err error)
}

// An Invitation is the last one of a shop that is not active, when a reminder of it is
// due.
type Invitation struct {
	Shop         ShopKey
	At           time.Time // when it was sent
	InvitationID string
	Reminders    int  // that were published of it
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

// A ReminderPlan is what follows when a reminder is due.
type ReminderPlan struct {
	Publish   []Draft   // the reminder; none: it is not needed, or not due
	Reminders int       // published or passed over by then; 0: as before
	Next      time.Time // when the next one is due; zero: none
}

// A ReminderPlanner decides about a reminder. It must be pure: a transaction that is run
// again calls it again.
type ReminderPlanner func(Invitation) ReminderPlan
