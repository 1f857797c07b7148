package journal

import (
	"context"
	"errors"
	"time"
)

// ErrTurnTaken says that another process has the turn to publish.
var ErrTurnTaken = errors.New("journal: another replica publishes")

// A RelayTurn is the right to publish the outbox.
type RelayTurn struct {
	// Number tells turns apart while the journal is open: as long as it is the
	// same nobody else has published meanwhile.
	Number int64
	// Until is when the turn ends unless it is taken again before: an instant of
	// this process, and no later than the one at which another can have it.
	Until time.Time
}

// RelayTurns let one process at a time publish, over all that work on the journal.
type RelayTurns interface {
	// TakeTurn takes the turn, or keeps the one that this journal has for longer:
	// then Number stays. ErrTurnTaken while another process has it. One that was
	// not kept, by a process that is dead, stopped or cut off, is free a few
	// seconds after it was kept last. When it fails otherwise nothing is known:
	// what was had before holds until its Until.
	TakeTurn(ctx context.Context) (RelayTurn, error)
	// GiveTurn gives the turn back: another can have it at once. Nothing that was
	// begun with it may begin to be sent afterwards. Without a turn it does nothing.
	GiveTurn(ctx context.Context) error
	// TurnFreed is signalled when a turn was given back, as far as the database
	// tells: of one that ran out it does not.
	TurnFreed() <-chan struct{}
}
