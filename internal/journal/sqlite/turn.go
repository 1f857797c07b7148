package sqlite

import (
	"context"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

// turnLasts is for how long the turn is given: nobody else can have it.
const turnLasts = time.Hour

// A turn to publish is the process's own that holds the file.
type turn struct {
	mu     sync.Mutex
	number int64
	given  bool // back
}

// mine tells whether what belongs to the turn may be done. Who never asked for
// one is not in the way of anybody.
func (t *turn) mine() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.given
}

// TakeTurn takes the turn to publish: the file is held by one process, which has
// it as long as it likes.
func (j *Journal) TakeTurn(ctx context.Context) (journal.RelayTurn, error) {
	if j.writer == nil {
		return journal.RelayTurn{}, journal.ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return journal.RelayTurn{}, err
	}
	if j.queue.Closed() {
		return journal.RelayTurn{}, journal.ErrClosed
	}
	j.turn.mu.Lock()
	defer j.turn.mu.Unlock()
	if j.turn.number == 0 || j.turn.given {
		j.turn.number++
		j.turn.given = false
	}
	return journal.RelayTurn{Number: j.turn.number, Until: j.clock.now().Add(turnLasts)}, nil
}

// GiveTurn gives the turn back.
func (j *Journal) GiveTurn(context.Context) error {
	if j.writer == nil {
		return journal.ErrReadOnly
	}
	if j.queue.Closed() {
		return journal.ErrClosed
	}
	j.turn.mu.Lock()
	defer j.turn.mu.Unlock()
	j.turn.given = j.turn.number != 0
	return nil
}

// TurnFreed is never signalled: nobody else waits for the turn.
func (j *Journal) TurnFreed() <-chan struct{} { return nil }
