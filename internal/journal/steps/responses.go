package steps

import (
	"context"
	"errors"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/keyset"
)

// SaveResponse saves a response, whatever the state of its operation.
func (j *Journal) SaveResponse(ctx context.Context, r journal.Receipt) (journal.State, bool, error) {
	got, err := j.saveResponse(ctx, &r, nil)
	return got.state, got.mine, err
}

// SaveResponseAndBeginCheck also begins a check if the operation is still the
// caller's.
func (j *Journal) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (journal.State, bool, journal.AttemptID, error) {
	if err := checkTimes(c.SendBy, c.Deadline); err != nil {
		return 0, false, 0, err
	}
	got, err := j.saveResponse(ctx, &r, &c)
	return got.state, got.mine, got.check, err
}

type savedResponse struct {
	state journal.State
	mine  bool
	check journal.AttemptID // 0 if none began
}

func (j *Journal) saveResponse(ctx context.Context, r *journal.Receipt, c *journal.Check) (savedResponse, error) {
	needs := Needs{Operations: []int64{r.Ref.Operation}, Missing: fmt.Errorf("%w: operation %d", journal.ErrNotFound, r.Ref.Operation), Anyway: true}
	if c != nil {
		needs.Ledgers = ledgersOf(c.Permits)
	}
	return ask(ctx, j, &Request{
		Needs: needs,
		Load: func(l *Loader) {
			l.operations = append(l.operations, r.Ref.Operation)
			l.attempts = append(l.attempts, int64(r.Attempt))
			if c != nil {
				l.permits = append(l.permits, c.Permits...)
			}
		},
	}, func(u *Unit) (got savedResponse, err error) {
		if got.state, got.mine, err = u.saveResponse(r); err != nil || c == nil || !got.mine || u.tx.LostCommits() {
			return got, err
		}
		got.check, err = u.beginCheckOf(r, c)
		return got, err
	})
}

// beginCheckOf begins the check of the token that a response brought, in the operation's
// row. The row has place for one. An opening finds the check by the operation's attempt.
// It returns 0 if a permit is missing, the place is taken, or the opening would miss it.
func (u *Unit) beginCheckOf(r *journal.Receipt, c *journal.Check) (journal.AttemptID, error) {
	o := u.operations.get(u, r.Ref.Operation)
	a := u.attempts.get(u, int64(r.Attempt))
	check := rows.Attempt{ID: -o.ID, Started: u.now, Deadline: u.now + c.Deadline.Microseconds()}
	if o.CheckOpen || o.CheckLedgers != "" || check.Deadline+slackOf(c.Permits)-a.Started > (LookBack-time.Second).Microseconds() {
		return 0, nil
	}
	err := u.takePermits(&check, c.Permits)
	if _, none := errors.AsType[*journal.NoPermitError](err); none {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	o.CheckOpen, o.CheckSlack, o.CheckLedgers, o.CheckGrain, o.CheckFrom = true, check.Slack, check.Ledgers, check.Grain, check.CountsFrom
	return journal.AttemptID(check.ID), nil
}

// endCheckOf saves the end of the check in an operation's row, and returns its permits.
func (u *Unit) endCheckOf(operation int64, end journal.AttemptEnd) error {
	o := u.operations.get(u, operation)
	if o == nil {
		return fmt.Errorf("%w: operation %d", journal.ErrNotFound, operation)
	}
	if !o.CheckOpen {
		return nil
	}
	check := &rows.Attempt{ID: -o.ID, Slack: o.CheckSlack, Ledgers: o.CheckLedgers, Grain: o.CheckGrain, CountsFrom: o.CheckFrom}
	u.permitsBack(check, end, u.ended(end))
	o.CheckOpen, o.CheckFrom = false, check.CountsFrom
	return nil
}

func (u *Unit) saveResponse(r *journal.Receipt) (journal.State, bool, error) {
	key, err := keyset.SealingKey(r.Sealed)
	if err != nil {
		return 0, false, fmt.Errorf("journal: response is not sealed: %w", err)
	}
	o := u.operations.get(u, r.Ref.Operation)
	if o == nil {
		return 0, false, fmt.Errorf("%w: operation %d", journal.ErrNotFound, r.Ref.Operation)
	}
	a, err := u.answered(o, r)
	if err != nil {
		return 0, false, err
	}
	if _, err := u.endAttempt(journal.AttemptID(a.ID), r.End); err != nil {
		return 0, false, err
	}
	if a.Answer != nil { // an earlier call has saved it
		return o.State, o.Claim == r.Ref.Claim && o.State == journal.Received, nil
	}
	a.Answer, a.AnswerKey, a.AnswerAt, a.SealedFor = r.Sealed, int64(key), u.now, r.SealedFor
	if o.State == journal.Sending && o.Claim == r.Ref.Claim {
		o.Receipt, o.Received = a.ID, true
		u.enterLeased(o, journal.Received, o.DueAt)
		return journal.Received, true, nil
	}
	return u.saveLate(o, a), false, nil
}

const responseLike Query = "SELECT id FROM attempt WHERE operation = $1 AND answer = $2"

// answered returns the attempt of a response.
func (u *Unit) answered(o *rows.Operation, r *journal.Receipt) (*rows.Attempt, error) {
	a := u.attempts.get(u, int64(r.Attempt))
	if (a == nil || a.Operation != o.ID) && u.tx.LostCommits() {
		a = u.lostAttempt(o, r)
	}
	if a == nil || a.Operation != o.ID {
		return nil, fmt.Errorf("%w: attempt %d of operation %d", journal.ErrNotFound, r.Attempt, o.ID)
	}
	return a, nil
}

// lostAttempt inserts an attempt again whose commit was lost. It has a new id, because
// the old one may have been assigned again. A repeated save of the response finds the
// attempt of the first.
func (u *Unit) lostAttempt(o *rows.Operation, r *journal.Receipt) *rows.Attempt {
	if id := firstInt(u, responseLike, o.ID, r.Sealed); id != 0 {
		return u.attempts.get(u, id)
	}
	id := u.next(AttemptIDs)
	at := u.stampOrNow(r.End.At)
	o.Attempts, o.LastAttempt = o.Attempts+1, id
	return u.attempts.add(u, id, rows.Attempt{
		ID: id, Account: o.Account, Operation: o.ID, Number: o.Attempts, Replica: u.tx.Replica(), Started: at, SendBy: at, Deadline: at, Grain: 1,
	})
}

// saveLate saves a response for which the operation does not wait any more, or waits
// under another claim. It returns the state after that.
func (u *Unit) saveLate(o *rows.Operation, a *rows.Attempt) journal.State {
	state := o.State
	switch {
	case !o.Received && (state <= journal.Sending || state == journal.Unknown || state == journal.Attention):
		// A worker that holds the operation is fenced off. The operation holds its lane
		// until none of its other requests can be in flight.
		due := u.lingering(o.ID)
		o.Claim++
		o.Receipt, o.Received, o.Reason = a.ID, true, ""
		u.enter(o, journal.Received, due)
		return journal.Received
	case state.Open():
		o.Late = true
		u.endWait(o)
		return state
	}
	o.Claim++
	o.Late = true
	since := o.Changed // the time of the end remains
	u.enter(o, state, 0)
	o.Changed = since
	return state
}
