package onboarding

import (
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

func (f *fakeJournal) supersedeOlder(by *fakeOp, reason string) {
	for _, op := range f.ops {
		waits := op.State == journal.Queued && op.last || op.State == journal.Attention && op.receipts == 0
		if op.Shop == by.Shop && op.Kind == by.Kind && op.id < by.id && op.Unknowns > 0 && waits {
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
		for _, op := range f.ops {
			if op.Shop == shop && op.State == journal.Queued && op.last == last {
				op.State, op.due, op.last = journal.Planned, time.Now(), false
				f.signal()
				return
			}
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
