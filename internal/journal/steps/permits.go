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

// ExactLimit is the largest limit for which each request has its own instant. For a
// larger limit a window is divided into that many instants, and each request counts
// from the next of them: its permit becomes available slightly late, never early.
const ExactLimit = 4096

// Grain returns the multiple to which the instants of a ledger are rounded up, in
// microseconds.
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

// LedgerIDs parses the column ledgers of an attempt.
func LedgerIDs(ledgers string) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for s := range strings.FieldsSeq(ledgers) {
			if id, err := strconv.ParseInt(s, 10, 64); err == nil && !yield(id) {
				return
			}
		}
	}
}

// ledgersOf returns the names of the ledgers to lock.
func ledgersOf(ps []journal.Permit) []string {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.RateLimit
	}
	return names
}

func checkPermit(p journal.Permit) error {
	if p.RateLimit == "" || p.Window <= 0 || p.Slack < 0 {
		return fmt.Errorf("journal: invalid permit of ledger %q with window %v and slack %v", p.RateLimit, p.Window, p.Slack)
	}
	return nil
}

// AvailablePermits returns how many permits are left, and if none is, when the next becomes available.
func (j *Journal) AvailablePermits(ctx context.Context, p journal.Permit) (int, time.Time, error) {
	if err := checkPermit(p); err != nil {
		return 0, time.Time{}, err
	}
	left, known, err := j.db.AvailablePermits(ctx, p)
	if err == nil && !known {
		left, err = ask(ctx, j, &Request{}, func(u *Unit) (Available, error) {
			return u.available(p), nil
		})
	}
	if err != nil || left.Permits > 0 {
		return left.Permits, time.Time{}, err
	}
	return 0, j.db.Clock().Instant(left.Next), nil
}

// available counts the permits that are left, with the changes of this transaction.
func (u *Unit) available(p journal.Permit) Available {
	left, err := u.tx.AvailablePermits(p)
	u.check(err)
	return left
}

// takePermits takes one of each permit for an attempt that begins, or none if any is
// missing, and sets the attempt's columns about permits.
func (u *Unit) takePermits(a *rows.Attempt, ps []journal.Permit) error {
	for i, p := range ps {
		if err := checkPermit(p); err != nil {
			return err
		}
		if slices.ContainsFunc(ps[:i], func(other journal.Permit) bool { return other.RateLimit == p.RateLimit }) {
			return fmt.Errorf("journal: ledger %q is named twice", p.RateLimit)
		}
	}
	a.Slack = slackOf(ps)
	for _, p := range ps {
		if left := u.available(p); left.Permits == 0 {
			return &journal.NoPermitError{RateLimit: p.RateLimit, Next: u.clock.Instant(left.Next)}
		}
	}
	a.Grain, a.CountsFrom = 1, a.Deadline+a.Slack
	if len(ps) == 0 {
		return nil
	}
	ledgers, err := u.tx.TakePermits(a, ps)
	u.check(err)
	names := make([]string, len(ledgers))
	for i, id := range ledgers {
		names[i] = strconv.FormatInt(id, 10)
	}
	a.Ledgers = strings.Join(names, " ")
	return nil
}

// slackOf returns the longest slack of permits, in microseconds.
func slackOf(ps []journal.Permit) (slack int64) {
	for _, p := range ps {
		slack = max(slack, p.Slack.Microseconds())
	}
	return slack
}

// back is the change of an attempt's permits by its end. The ledgers get it after the
// end is saved.
type back struct {
	attempt *rows.Attempt
	was, is int64
	counts  bool
}
