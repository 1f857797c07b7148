package steps

import (
	"context"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// LookBack is how much longer than one window ago an attempt can have started that an
// opening finds by its start. Attempts that can count for longer are marked as slow
// and found by an index.
const LookBack = 5 * time.Minute

// grace is how long the lease of a sending operation lasts after the request's
// deadline, so that the response can be saved.
const grace = 5 * time.Second

// BeginAttempt inserts an attempt and takes its permits. The durations are counted from the
// call. The lease is extended if it would end before the response can be saved.
func (j *Journal) BeginAttempt(ctx context.Context, s journal.AttemptStart) (journal.AttemptID, error) {
	if err := checkTimes(s.SendBy, s.Deadline); err != nil {
		return 0, err
	}
	if err := j.db.MayBegin(); err != nil {
		return 0, err
	}
	return ask(ctx, j, &Request{
		Needs: Needs{Operations: []int64{s.Ref.Operation}, Missing: journal.ErrStale, Ledgers: ledgersOf(s.Permits), LockLedgers: s.Address != nil},
		Load: func(l *Loader) {
			l.operations = append(l.operations, s.Ref.Operation)
			l.permits = append(l.permits, s.Permits...)
			l.address(s.Ref.Operation, s.Address)
			l.IDs(AttemptIDs, 1)
		},
	}, func(u *Unit) (journal.AttemptID, error) { return u.beginAttempt(&s) })
}

func checkTimes(sendBy, deadline time.Duration) error {
	if deadline <= 0 || sendBy <= 0 || sendBy > deadline {
		return fmt.Errorf("journal: send-by %v and deadline %v make no sense", sendBy, deadline)
	}
	return nil
}

func (u *Unit) beginAttempt(s *journal.AttemptStart) (journal.AttemptID, error) {
	o := u.operations.get(u, s.Ref.Operation)
	if o == nil || o.State != journal.Claimed || o.Claim != s.Ref.Claim || o.Attempts != int64(s.Attempt)-1 || o.DueAt <= u.now {
		return 0, journal.ErrStale
	}
	a := rows.Attempt{Account: o.Account, Operation: o.ID, Number: int64(s.Attempt), Flagged: s.Flagged, Probe: s.Probe}
	if s.Address != nil {
		if err := u.checkCoolDown(o, s.Address); err != nil {
			return 0, err
		}
		a.MAC = s.Address.MAC
	}
	begun, err := u.addAttempt(a, s.SendBy, s.Deadline, s.Permits)
	if err != nil {
		return 0, err
	}
	o.Attempts, o.LastAttempt = begun.Number, begun.ID
	u.enter(o, journal.Sending, max(o.DueAt, begun.Deadline+grace.Microseconds()))
	return journal.AttemptID(begun.ID), nil
}

// addAttempt inserts an attempt that begins now. It changes nothing if a permit is
// missing.
func (u *Unit) addAttempt(a rows.Attempt, sendBy, deadline time.Duration, ps []journal.Permit) (*rows.Attempt, error) {
	id := u.next(AttemptIDs)
	a.ID, a.Replica = id, u.tx.Replica()
	a.Started, a.SendBy, a.Deadline = u.now, u.now+sendBy.Microseconds(), u.now+deadline.Microseconds()
	if err := u.takePermits(&a, ps); err != nil {
		return nil, err
	}
	a.Slow = a.Deadline+a.Slack-a.Started > LookBack.Microseconds()
	return u.attempts.add(u, id, a), nil
}

// BeginCheck is BeginAttempt for a request that belongs to no operation.
func (j *Journal) BeginCheck(ctx context.Context, c journal.Check) (journal.AttemptID, error) {
	if err := checkTimes(c.SendBy, c.Deadline); err != nil {
		return 0, err
	}
	return ask(ctx, j, &Request{
		Needs: Needs{Ledgers: ledgersOf(c.Permits)},
		Load: func(l *Loader) {
			l.permits = append(l.permits, c.Permits...)
			l.IDs(AttemptIDs, 1)
		},
	}, func(u *Unit) (journal.AttemptID, error) {
		account, err := u.accountID(c.Account)
		if err != nil {
			return 0, err
		}
		begun, err := u.addAttempt(rows.Attempt{Account: account}, c.SendBy, c.Deadline, c.Permits)
		if err != nil {
			return 0, err
		}
		return journal.AttemptID(begun.ID), nil
	})
}

// EndAttempt saves the end of a check, or of an attempt whose operation has continued
// without it. A second end changes nothing. The operation is updated by a second
// request, because the shop to lock is known only from the attempt's row.
func (j *Journal) EndAttempt(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error {
	if id < 0 {
		operation := -int64(id)
		return j.db.Write(ctx, &Request{
			Needs: Needs{Operations: []int64{operation}, Missing: journal.ErrNotFound},
			Load:  func(l *Loader) { l.operations = append(l.operations, operation) },
			Do:    func(u *Unit) error { return u.endCheckOf(operation, end) },
		})
	}
	operation, err := ask(ctx, j, &Request{
		Load: func(l *Loader) { l.attempts = append(l.attempts, int64(id)) },
	}, func(u *Unit) (int64, error) {
		a, err := u.endAttempt(id, end)
		if err != nil {
			return 0, err
		}
		return a.Operation, nil
	})
	if err != nil || operation == 0 {
		return err
	}
	return j.db.Write(ctx, &Request{
		Needs: Needs{Operations: []int64{operation}, Missing: journal.ErrNotFound},
		Load:  func(l *Loader) { l.operations = append(l.operations, operation) },
		Do: func(u *Unit) error {
			if o := u.operations.get(u, operation); o != nil {
				u.endWait(o)
			}
			return nil
		},
	})
}

// endAttempt saves the end of an attempt and returns its permits. Only the first end
// counts.
func (u *Unit) endAttempt(id journal.AttemptID, end journal.AttemptEnd) (*rows.Attempt, error) {
	a := u.attempts.get(u, int64(id))
	if a == nil {
		return nil, fmt.Errorf("%w: attempt %d", journal.ErrNotFound, id)
	}
	if a.Ended != 0 {
		return a, nil
	}
	a.Ended = max(u.ended(end), a.Started)
	a.Answered, a.NotSent, a.Status = end.Answered, end.NotSent, int64(end.Status)
	a.Outcome, a.Code, a.RequestID, a.Reason = end.Outcome, end.Code, end.RequestID, end.Reason
	a.Slow = a.Slow || a.Ended+a.Slack-a.Started > LookBack.Microseconds()
	u.permitsBack(a, end, a.Ended)
	return a, nil
}

// ended returns the database's time of an end.
func (u *Unit) ended(end journal.AttemptEnd) int64 {
	if at := u.clock.StampUp(end.At); at != 0 {
		return at
	}
	return u.now
}

// permitsBack changes the instant from which the permits of an attempt count.
func (u *Unit) permitsBack(a *rows.Attempt, end journal.AttemptEnd, from int64) {
	if !end.Answered {
		from += a.Slack
	}
	from = RoundUp(from, a.Grain)
	was := a.CountsFrom
	a.CountsFrom = from
	if end.NotSent {
		a.CountsFrom = 0
	}
	u.back = append(u.back, back{a, was, from, !end.NotSent})
}

// unanswered finds the requests of an operation that may still be in flight.
const unanswered Query = `SELECT a.id, a.deadline, a.slack, a.ended FROM attempt a
	WHERE a.operation = $1 AND a.answered = 0 AND a.not_sent = 0 AND a.answer IS NULL`

// lingering returns until when a request of the operation without a response may be
// in flight; now at the earliest. The worker that sent it may be running even if its
// lease has ended, so without a known end the deadline and the slack have to pass.
func (u *Unit) lingering(operation int64) int64 {
	until := u.now
	opening, opened := u.tx.Opened()
	each(u, unanswered, []any{operation}, func(a *struct {
		ID       int64 `db:"id"`
		Deadline int64 `db:"deadline"`
		Slack    int64 `db:"slack"`
		Ended    int64 `db:"ended"`
	}) {
		end := a.Ended
		if end == 0 {
			end = a.Deadline
		}
		if a.ID < opening {
			end = min(end, opened)
		}
		until = max(until, end+a.Slack)
	})
	return until
}

// endWait makes an operation due that waited for another of its requests, once that
// has ended.
func (u *Unit) endWait(o *rows.Operation) {
	if o.State != journal.Received || o.Stage != int64(journal.Settle) || o.LeaseHeld {
		return
	}
	if due := u.lingering(o.ID); o.DueAt > due {
		u.enter(o, o.State, due)
	}
}
