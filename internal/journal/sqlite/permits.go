package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// lookBack is how far back by its start a restart looks for attempts that
// still count, over and above one window. Attempts that can count for longer
// are marked as slow and found by an index.
const lookBack = 5 * time.Minute

// ledgers are those that have been asked for since the journal was opened. A
// ledger is filled from the attempts of earlier processes when it is first
// asked for, because only then its window is known; nothing of this process
// can have been taken from it before.
type ledgers struct {
	mu     sync.Mutex
	byName map[string]*ledger
	byID   map[int64]*ledger
	opened int64
	// unknown is since when the history is known, 0 for ever: before it as much
	// may have been sent as a ledger allows.
	unknown int64
}

// Free tells how many permits are left, and when the next comes back if none is.
func (j *Journal) Free(ctx context.Context, p journal.Permit) (n int, at time.Time, err error) {
	if j.writer == nil {
		return 0, time.Time{}, journal.ErrReadOnly
	}
	if err := j.open(); err != nil {
		return 0, time.Time{}, err
	}
	if err := stored.CheckPermit(p); err != nil {
		return 0, time.Time{}, err
	}
	look := func() bool {
		ls := &j.writer.ledgers
		ls.mu.Lock()
		defer ls.mu.Unlock()
		l, ok := ls.byName[p.Ledger]
		if !ok {
			return false
		}
		free, back := l.free(j.clock.micros(), p.Limit, p.Window)
		if n = free; n == 0 {
			l.refused = true
			at = j.clock.instant(back)
		}
		return true
	}
	if look() {
		return n, at, nil
	}
	err = j.submit(ctx, 0, func(t *tx) error {
		_, err := t.ledger(p)
		return err
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	look()
	return n, at, nil
}

// takePermits takes one of each permit or none, and gives what the attempt's
// row has to say of them.
func (t *tx) takePermits(deadline time.Duration, ps []journal.Permit) (id journal.AttemptID, ids string, slack time.Duration, err error) {
	ls := &t.j.writer.ledgers
	id = journal.AttemptID(next(&t.j.writer.ids.attempt))
	var room [4]*ledger
	taken := room[:0]
	var names strings.Builder
	for i, p := range ps {
		l, err := t.ledger(p)
		if err != nil {
			return 0, "", 0, err
		}
		if slices.Contains(taken, l) {
			return 0, "", 0, fmt.Errorf("journal: ledger %q is named twice", p.Ledger)
		}
		taken = append(taken, l)
		slack = max(slack, p.Slack)
		number, err := t.intern(t.j.writer.ledgerID, "ledger", p.Ledger)
		if err != nil {
			return 0, "", 0, err
		}
		if i > 0 {
			names.WriteByte(' ')
		}
		names.WriteString(strconv.FormatInt(number, 10))
		ls.mu.Lock()
		ls.byID[number] = l
		free, back := l.free(t.now, p.Limit, p.Window)
		l.refused = l.refused || free == 0
		ls.mu.Unlock()
		if free == 0 {
			return 0, "", 0, &journal.NoPermitError{Ledger: p.Ledger, Next: t.j.clock.instant(back)}
		}
	}
	if len(taken) == 0 {
		return id, "", 0, nil
	}
	taken = append([]*ledger(nil), taken...)
	ls.mu.Lock()
	for i, l := range taken {
		l.take(id, rounded(t.now+(deadline+slack).Microseconds(), ps[i].Limit, ps[i].Window))
		l.limit, l.window = ps[i].Limit, ps[i].Window
	}
	ls.mu.Unlock()
	t.undo = append(t.undo, func() {
		ls.mu.Lock()
		for _, l := range taken {
			l.untake(id)
		}
		ls.mu.Unlock()
	})
	return id, names.String(), slack, nil
}

// A permitEnd is the end of an attempt, for the ledgers.
type permitEnd struct {
	id      journal.AttemptID
	ledgers string
	from    int64
	counted bool
}

// end follows the ends of attempts after their commit.
func (ls *ledgers) end(j *Journal, ends []permitEnd) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, e := range ends {
		for number := range numbers(e.ledgers) {
			l, ok := ls.byID[number]
			if !ok {
				continue // not asked for in this process: the row tells when it is
			}
			l.end(e.id, rounded(e.from, l.limit, l.window), e.counted)
			if l.refused {
				// Whoever waits for a permit knows a later instant than this one.
				l.refused = false
				notify(j.changed)
			}
		}
	}
}

// numbers reads the ids of a row.
func numbers(ids string) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for s := range strings.FieldsSeq(ids) {
			n, err := strconv.ParseInt(s, 10, 64)
			if err == nil && !yield(n) {
				return
			}
		}
	}
}

// ledger finds a ledger, filled from the journal the first time.
func (t *tx) ledger(p journal.Permit) (*ledger, error) {
	if err := stored.CheckPermit(p); err != nil {
		return nil, err
	}
	ls := &t.j.writer.ledgers
	ls.mu.Lock()
	l, ok := ls.byName[p.Ledger]
	ls.mu.Unlock()
	if ok {
		return l, nil
	}
	l = newLedger()
	l.limit, l.window, l.slack = p.Limit, p.Window, p.Slack
	number, known := t.j.writer.ledgerID[p.Ledger]
	if known {
		if err := t.fill(l, number, p); err != nil {
			return nil, err
		}
	}
	if from := ls.unknown + p.Slack.Microseconds(); ls.unknown != 0 && from > t.now-p.Window.Microseconds() {
		l.usedUp(from)
	}
	ls.mu.Lock()
	ls.byName[p.Ledger] = l
	if known {
		ls.byID[number] = l
	}
	ls.mu.Unlock()
	return l, nil
}

// errEnough ends a walk over rows.
var errEnough = errors.New("enough")

// fill adds the attempts of earlier processes that still count: by id
// backwards as far as one that is not slow can matter, then the slow ones.
// However the wall clock was stepped meanwhile, what ended before the journal
// was opened counts from then at the latest, so that a clock that went back
// costs no more than one window.
func (t *tx) fill(l *ledger, number int64, p journal.Permit) error {
	opened := t.j.writer.ledgers.opened
	oldest := t.now - p.Window.Microseconds()
	cut := oldest - lookBack.Microseconds()
	add := func(r row) {
		id, started, deadline, slack := journal.AttemptID(r.int(0)), r.int(1), r.int(2), r.int(3)
		from, open := r.int(5), r.null(4)
		latest := opened
		if open {
			latest += deadline - started + slack
		} else if r.int(6) == 0 {
			latest += slack
		}
		if from = rounded(min(from, latest), p.Limit, p.Window); from <= oldest {
			return
		}
		if open {
			l.take(id, from)
		} else {
			l.add(from)
		}
	}
	const columns = "SELECT id, started, deadline, slack, ended, counts_from, answered, ledgers FROM attempt "
	names := func(r row) bool {
		for n := range numbers(r.text(7)) {
			if n == number {
				return true
			}
		}
		return false
	}
	err := t.each(columns+"WHERE id < ? ORDER BY id DESC", in{t.j.writer.firstAttempt}, func(r row) error {
		if r.int(1) < cut {
			return errEnough
		}
		if !r.null(5) && names(r) {
			add(r)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return t.each(columns+"INDEXED BY attempt_slow WHERE slow = 1 AND counts_from > ? AND id < ?", in{oldest, t.j.writer.firstAttempt}, func(r row) error {
		if r.int(1) < cut && names(r) {
			add(r)
		}
		return nil
	})
}
