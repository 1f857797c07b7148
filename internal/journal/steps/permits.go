package steps

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// ExactLimit is the largest limit that is counted request by request. Above it a
// window has that many instants, and requests are counted from the next of them: a
// permit then comes back a little late, never early.
const ExactLimit = 4096

// Grain is what the instants of a ledger are rounded up to, in microseconds.
func Grain(limit int, window time.Duration) int64 {
	if limit <= ExactLimit {
		return 1
	}
	return max(window.Microseconds()/ExactLimit, 1)
}

// RoundUp rounds an instant up to a multiple of a grain.
func RoundUp(from, grain int64) int64 {
	if grain <= 1 {
		return from
	}
	return (from + grain - 1) / grain * grain
}

// LedgerIDs are the ids in the column ledgers of an attempt.
func LedgerIDs(ledgers string) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for s := range strings.FieldsSeq(ledgers) {
			if id, err := strconv.ParseInt(s, 10, 64); err == nil && !yield(id) {
				return
			}
		}
	}
}

// ledgersOf are the names of ledgers, for the locks.
func ledgersOf(ps []journal.Permit) []string {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.Ledger
	}
	return names
}

func checkPermit(p journal.Permit) error {
	if p.Ledger == "" || p.Window <= 0 || p.Slack < 0 {
		return fmt.Errorf("journal: a ledger %q with window %v and slack %v makes no sense", p.Ledger, p.Window, p.Slack)
	}
	return nil
}

// Free tells how many permits are left, and when the next comes back if none is.
func (j *Journal) Free(ctx context.Context, p journal.Permit) (int, time.Time, error) {
	if err := checkPermit(p); err != nil {
		return 0, time.Time{}, err
	}
	left, known, err := j.db.AvailablePermits(ctx, p)
	if err == nil && !known {
		left, err = ask(ctx, j, &Request{}, func(u *Unit) (Available, error) {
			left, err := u.tx.AvailablePermits(p)
			if err != nil {
				return left, u.fail(err)
			}
			return left, nil
		})
	}
	if err != nil || left.Permits > 0 {
		return left.Permits, time.Time{}, err
	}
	return 0, j.db.Clock().Instant(left.Next), nil
}

// takePermits takes one of each permit for an attempt that begins, or none, and
// writes into its row what it has to say of them.
func (u *Unit) takePermits(a *rows.Attempt, ps []journal.Permit) error {
	for i, p := range ps {
		if err := checkPermit(p); err != nil {
			return err
		}
		if slices.ContainsFunc(ps[:i], func(other journal.Permit) bool { return other.Ledger == p.Ledger }) {
			return fmt.Errorf("journal: ledger %q is named twice", p.Ledger)
		}
		a.Slack = max(a.Slack, p.Slack.Microseconds())
	}
	for _, p := range ps {
		left, err := u.tx.AvailablePermits(p)
		if err != nil {
			return u.fail(err)
		}
		if left.Permits == 0 {
			return &journal.NoPermitError{Ledger: p.Ledger, Next: u.clock.Instant(left.Next)}
		}
	}
	a.Grain, a.CountsFrom = 1, a.Deadline+a.Slack
	if len(ps) == 0 {
		return nil
	}
	ledgers, err := u.tx.TakePermits(a, ps)
	if err != nil {
		return u.fail(err)
	}
	names := make([]string, len(ledgers))
	for i, id := range ledgers {
		names[i] = strconv.FormatInt(id, 10)
	}
	a.Ledgers = strings.Join(names, " ")
	return nil
}

// back is what an end says of permits, told to the ledgers once it is saved.
type back struct {
	attempt *rows.Attempt
	was, is int64
	counts  bool
}
