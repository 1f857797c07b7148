package queue

import (
	"errors"
	"testing"

	"invoicebox-worker/internal/journal"
)

// Steps of operations go before intake, but intake is never left out.
func TestQueueOrder(t *testing.T) {
	q := New[int]()
	put := func(n, records int) {
		for range n {
			if err := q.Put(records, records); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(3, 400)
	put(600, 0)
	for i, want := range []struct{ high, low int }{{255, 1}, {255, 1}, {90, 1}} {
		high, low := 0, 0
		for _, r := range q.Take(nil) {
			if r > 0 {
				low++
			} else if high++; low > 0 {
				t.Error("intake went first")
			}
		}
		if high != want.high || low != want.low {
			t.Errorf("commit %d takes %d steps and %d batches, want %+v", i, high, low, want)
		}
	}
	put(4, 200) // two fit into one commit
	put(1, 100_000)
	for i, want := range []int{2, 2, 1} {
		if got := len(q.Take(nil)); got != want {
			t.Errorf("commit %d takes %d batches, want %d", i, got, want)
		}
	}
	put(4, 60)
	put(1, 0)
	for i, want := range []int{2, 3} { // one of them beside the step, then three without
		if got := len(q.Take(nil)); got != want {
			t.Errorf("commit %d beside a step takes %d requests, want %d", i, got, want)
		}
	}
	q.Close()
	if q.Take(nil) != nil {
		t.Error("a closed queue has work")
	}
	if err := q.Put(0, 0); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("error is %v", err)
	}
}
