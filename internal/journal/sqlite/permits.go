package sqlite

import (
	"context"
	"errors"
	"sync"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
)

// ledgers are those that were used since the journal was opened. A ledger is filled from
// the attempts of earlier processes at its first use, because only then its window is
// known. This process cannot have taken permits from it before.
type ledgers struct {
	mu     sync.Mutex
	byName map[string]*ledger
	byID   map[int64]*ledger
	opened int64
	// unknown is since when the history is known, 0 if all of it is. Before it, as many
	// requests may have been sent as a ledger allows.
	unknown int64
}

// AvailablePermits counts the permits of a ledger that the writer has loaded.
func (d database) AvailablePermits(_ context.Context, p journal.Permit) (left steps.Available, known bool, err error) {
	if d.j.writer == nil {
		return left, false, journal.ErrReadOnly
	}
	if err := d.j.open(); err != nil {
		return left, false, err
	}
	ls := &d.j.writer.ledgers
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l, known := ls.byName[p.RateLimit]
	if known {
		left = l.available(d.j.clock.Now(), p)
	}
	return left, known, nil
}

// AskPermits returns nothing, because ledgers are in memory.
func (t stepTx) AskPermits([]journal.Permit) []steps.Ask { return nil }

func (t stepTx) AvailablePermits(p journal.Permit) (steps.Available, error) {
	l, err := t.ledger(p)
	if err != nil {
		return steps.Available{}, err
	}
	ls := &t.j.writer.ledgers
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return l.available(t.now, p), nil
}

// available returns the permits that are left, and records whether the caller has to
// wait.
func (l *ledger) available(now int64, p journal.Permit) steps.Available {
	n, next := l.free(now, p.Limit, p.Window)
	l.refused = l.refused || n == 0
	return steps.Available{Permits: n, Next: next}
}

func (t stepTx) TakePermits(a *rows.Attempt, ps []journal.Permit) ([]int64, error) {
	numbers, taken := make([]int64, len(ps)), make([]*ledger, len(ps))
	for i, p := range ps {
		var err error
		if taken[i], err = t.ledger(p); err != nil {
			return nil, err
		}
		if numbers[i], err = t.intern(t.j.writer.ledgerID, "ledger", p.RateLimit); err != nil {
			return nil, err
		}
	}
	ls, id := &t.j.writer.ledgers, journal.AttemptID(a.ID)
	ls.mu.Lock()
	for i, l := range taken {
		ls.byID[numbers[i]] = l
		l.limit, l.window = ps[i].Limit, ps[i].Window
		l.take(id, rounded(a.CountsFrom, l.limit, l.window))
	}
	ls.mu.Unlock()
	t.undo = append(t.undo, func() {
		ls.mu.Lock()
		for _, l := range taken {
			l.removeOpen(id)
		}
		ls.mu.Unlock()
	})
	return numbers, nil
}

func (t stepTx) PermitsBack(a *rows.Attempt, _, is int64, counts bool) {
	t.ends = append(t.ends, permitEnd{id: journal.AttemptID(a.ID), ledgers: a.Ledgers, from: is, counted: counts})
}

// A permitEnd is the end of an attempt, for the ledgers.
type permitEnd struct {
	id      journal.AttemptID
	ledgers string
	from    int64
	counted bool
}

// end updates the ledgers with the ends of attempts, after their commit.
func (ls *ledgers) end(j *Journal, ends []permitEnd) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, e := range ends {
		for number := range steps.LedgerIDs(e.ledgers) {
			l, ok := ls.byID[number]
			if !ok {
				continue // not used in this process: the row has its end
			}
			l.end(e.id, rounded(e.from, l.limit, l.window), e.counted)
			if l.refused {
				// A caller that waits for a permit waits for a later instant.
				l.refused = false
				j.Notify(steps.Signals{Work: true})
			}
		}
	}
}

// ledger returns a ledger. At its first use it is filled from the journal.
func (t *tx) ledger(p journal.Permit) (*ledger, error) {
	ls := &t.j.writer.ledgers
	ls.mu.Lock()
	l, ok := ls.byName[p.RateLimit]
	ls.mu.Unlock()
	if ok {
		return l, nil
	}
	l = newLedger()
	l.limit, l.window, l.slack = p.Limit, p.Window, p.Slack
	number, known := t.j.writer.ledgerID[p.RateLimit]
	if known {
		if err := t.fill(l, number, p); err != nil {
			return nil, err
		}
	}
	if from := ls.unknown + p.Slack.Microseconds(); ls.unknown != 0 && from > t.now-p.Window.Microseconds() {
		l.usedUp(from)
	}
	ls.mu.Lock()
	ls.byName[p.RateLimit] = l
	if known {
		ls.byID[number] = l
	}
	ls.mu.Unlock()
	return l, nil
}

// fill adds the attempts of earlier processes that still count. It reads them by
// descending id, as far as one that is not slow can still count, with the checks that
// began with their responses. Then it reads the slow ones. An attempt that ended before
// the journal was opened counts from the opening at the latest, so that a wall clock that
// was set back costs at most one window.
func (t *tx) fill(l *ledger, number int64, p journal.Permit) error {
	opened := t.j.writer.ledgers.opened
	oldest := t.now - p.Window.Microseconds()
	cut := oldest - steps.LookBack.Microseconds()
	count := func(id journal.AttemptID, open bool, from int64) {
		from = rounded(from, l.limit, l.window)
		switch {
		case from <= oldest:
		case open:
			l.take(id, from)
		default:
			l.add(from)
		}
	}
	add := func(r row) {
		id, started, deadline, slack := journal.AttemptID(r.int(0)), r.int(1), r.int(2), r.int(3)
		from, open := r.int(5), r.null(4)
		latest := opened
		if open {
			latest += deadline - started + slack
		} else if r.int(6) == 0 {
			latest += slack
		}
		count(id, open, min(from, latest))
	}
	const columns = "SELECT a.id, a.started, a.deadline, a.slack, a.ended, a.counts_from, a.answered, a.ledgers"
	names := func(ledgers string) bool {
		for n := range steps.LedgerIDs(ledgers) {
			if n == number {
				return true
			}
		}
		return false
	}
	checks := make(map[int64]bool) // by operation, which may have several attempts
	err := t.each(columns+`, o.id, o.check_open, o.check_slack, o.check_from, o.check_ledgers
		FROM attempt a LEFT JOIN operation o ON o.id = a.operation AND o.check_from > ? WHERE a.id < ? ORDER BY a.id DESC`, in{oldest, t.j.writer.firstAttempt}, func(r row) error {
		if r.int(1) < cut {
			return steps.ErrStop
		}
		if !r.null(5) && names(r.text(7)) {
			add(r)
		}
		if operation := r.int(8); operation != 0 && !checks[operation] && names(r.text(12)) {
			checks[operation] = true
			open, latest := r.int(9) == 1, opened+r.int(10)
			if open {
				latest = opened + steps.LookBack.Microseconds()
			}
			count(journal.AttemptID(-operation), open, min(r.int(11), latest))
		}
		return nil
	})
	if err != nil && !errors.Is(err, steps.ErrStop) {
		return err
	}
	return t.each(columns+" FROM attempt a INDEXED BY attempt_slow WHERE a.slow = 1 AND a.counts_from > ? AND a.id < ?", in{oldest, t.j.writer.firstAttempt}, func(r row) error {
		if r.int(1) < cut && names(r.text(7)) {
			add(r)
		}
		return nil
	})
}
