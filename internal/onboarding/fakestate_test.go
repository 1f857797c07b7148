package onboarding

import (
	"slices"

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
