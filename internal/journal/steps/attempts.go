package steps

import (
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// lookBack is how far back by its start a restart looks for attempts that still
// count, over and above one window. Attempts that can count for longer are marked
// as slow and found by an index.
const lookBack = 5 * time.Minute

// endAttempt writes the end of an attempt and gives the permits back by it. The
// first end holds.
func (u *Unit) endAttempt(id journal.AttemptID, end journal.AttemptEnd) (*rows.Attempt, error) {
	a, err := u.attempts.get(u, int64(id))
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, fmt.Errorf("%w: attempt %d", journal.ErrNotFound, id)
	}
	if a.Ended != 0 {
		return a, nil
	}
	at := u.clock.StampUp(end.At)
	if at == 0 {
		at = u.now
	}
	was := a.CountsFrom
	a.Ended = max(at, a.Started)
	a.Answered, a.NotSent, a.Status = end.Answered, end.NotSent, int64(end.Status)
	a.Outcome, a.Code, a.RequestID, a.Reason = end.Outcome, end.Code, end.RequestID, end.Reason
	a.Slow = a.Slow || a.Ended+a.Slack-a.Started > lookBack.Microseconds()
	from := a.Ended
	if !end.Answered {
		from += a.Slack
	}
	if a.Grain > 1 {
		from = (from + a.Grain - 1) / a.Grain * a.Grain
	}
	a.CountsFrom = from
	if end.NotSent {
		a.CountsFrom = 0
	}
	u.back = append(u.back, back{a, was, from, !end.NotSent})
	return a, nil
}

// back is what an end says of permits, told to the ledgers once it is saved.
type back struct {
	attempt *rows.Attempt
	was, is int64
	counts  bool
}
