package onboarding

import (
	"context"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
)

// settled tells whether nothing is left for the worker.
func (f *fakeJournal) settled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(f.ops, func(op *fakeOp) bool { return op.State.Open() })
}

func (f *fakeJournal) state(op *fakeOp) (journal.State, Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return op.State, Reason(op.Reason)
}

func (f *fakeJournal) eventsOf(op *fakeOp) (out []fakeEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.op == op.UUID {
			out = append(out, e)
		}
	}
	return out
}

func (f *fakeJournal) supersedeOlder(by *fakeOp, reason string, over, unsent []string) {
	for _, op := range f.ops {
		waits := op.State == journal.Queued && op.last || op.State == journal.Attention && op.receipts == 0 && slices.Contains(over, op.Reason)
		never := op.State == journal.Attention && slices.Contains(unsent, op.Reason)
		if op.Shop == by.Shop && op.Kind == by.Kind && (op.turn < by.turn && op.Doubt && waits || never) {
			f.move(op, journal.Superseded)
			op.Reason = reason
		}
	}
}

// advance makes the head of a free lane planned.
func (f *fakeJournal) advance(shop journal.ShopKey) {
	for _, op := range f.ops {
		if op.Shop == shop && op.State.HoldsLane() {
			return
		}
	}
	for _, last := range []bool{false, true} {
		var head *fakeOp
		for _, op := range f.ops {
			if op.Shop == shop && op.State == journal.Queued && op.last == last && (head == nil || op.turn < head.turn) {
				head = op
			}
		}
		if head != nil {
			head.State, head.due, head.last = journal.Planned, time.Now(), false
			f.signal()
			return
		}
	}
}

func (f *fakeJournal) free(p journal.Permit) (n int, next time.Time) {
	n = p.Limit
	for _, u := range f.ledger[p.Ledger] {
		if u.back.IsZero() || time.Now().Before(u.back) {
			n--
			if !u.back.IsZero() && (next.IsZero() || u.back.Before(next)) {
				next = u.back
			}
		}
	}
	return max(0, n), next
}

// stage is the one that the operation can be claimed in.
func (op *fakeOp) stage() journal.Stage {
	if op.late && !op.State.Open() {
		return journal.Settle
	}
	return journal.StageOf(op.State)
}

func (f *fakeJournal) known(op *fakeOp) (list []journal.StoredReceipt) {
	for _, o := range f.ops {
		current := f.active[op.Shop] != nil && f.active[op.Shop].Operation == o.UUID
		if o.Receipt != nil && (o == op || current) {
			list = append(list, *o.Receipt)
		}
	}
	return list
}

func (f *fakeJournal) stored(op *fakeOp) (list []journal.Credential) {
	for _, c := range f.creds[op.Shop] {
		own := op.Credential != nil && op.Credential.Version == c.Version
		if active := f.active[op.Shop]; own || active != nil && active.Version == c.Version {
			list = append(list, c)
		}
	}
	return list
}

// EraseReceipts takes two pages and notes what it was asked for.
func (f *fakeJournal) EraseReceipts(ctx context.Context, before time.Time, after journal.AttemptID, _ int) (next journal.AttemptID, erased int, err error) {
	err = f.step(ctx, "erase_receipts", func() error {
		f.erased = append(f.erased, before)
		if after == 0 {
			next = 1
		}
		for _, op := range f.ops {
			if op.State == journal.Done && !op.verified.IsZero() && !op.verified.After(before) {
				op.Receipt = nil
				erased++
			}
		}
		return nil
	})
	return next, erased, err
}

func (f *fakeJournal) ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error) {
	err = f.step(ctx, "expire", func() error {
		for _, op := range f.ops {
			if !op.held || time.Now().Before(op.lease) {
				continue
			}
			op.held = false
			switch op.State {
			case journal.Claimed:
				f.move(op, journal.Planned)
				planned++
			case journal.Sending:
				f.move(op, journal.Unknown)
				op.Doubt, op.due, op.Closed = true, time.Now(), time.Now()
				op.Unknowns++
				unknown++
			}
		}
		if planned+unknown > 0 {
			f.signal()
		}
		return nil
	})
	return planned, unknown, err
}

// compared tells whether no late receipt of an ended operation is left to be
// looked at.
func (f *fakeJournal) compared(op *fakeOp) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !op.late
}

func (f *fakeJournal) keeps(op *fakeOp) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return op.Receipt != nil
}

// fakeClosed is for how long an account was closed, and since when it is.
type fakeClosed struct {
	before time.Duration
	since  time.Time
}

// closedFor tells for how long an account was closed, as far as anybody looked.
func (f *fakeJournal) closedFor(account string) time.Duration {
	c, now := f.closed[account], time.Now()
	if !c.since.IsZero() {
		c.before += now.Sub(c.since)
	}
	c.since = time.Time{}
	if f.accounts[account].Gate.State != journal.GateOpen {
		c.since = now
	}
	if f.closed == nil {
		f.closed = map[string]fakeClosed{}
	}
	f.closed[account] = c
	return c.before
}

func (f *fakeJournal) EndAttempt(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error {
	return f.step(ctx, "end_check", func() error {
		f.endAttempt(id, end)
		for _, op := range f.ops {
			if op.attempt == id && op.State == journal.Received && !op.held {
				op.due = time.Now()
				f.signal()
			}
		}
		return nil
	})
}

// gate is the default account's, as the journal has it.
func (f *fakeJournal) gate() journal.Gate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accounts["default"].Gate
}

func (f *fakeJournal) isActive(shop journal.ShopKey) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active[shop] != nil
}
