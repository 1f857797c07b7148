// Package queue holds the requests that wait for the writer of a journal's database.
//
// It has two priorities: steps of operations run before records of intake. Every
// transaction has some of the waiting intake, so that neither waits forever. The number of
// callers bounds the length, because each of them waits for its result.
package queue

import (
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

// Bounds of one transaction. Requests beyond them wait for the next.
const (
	MaxRequests = 256 // of both priorities together
	MaxRecords  = 500 // of intake; the first request may have more
	besideSteps = 100 // MaxRecords if steps wait, because calls wait for them
)

// Bounds of the wait for a fuller transaction.
const (
	enough  = 32                   // requests that are not delayed for more
	maxSpan = 5 * time.Millisecond // a longer transaction, on a slow disk, gathers requests by itself
)

// A Queue holds requests. Make it with [New]. Its methods are safe for concurrent use, but
// only one goroutine may call Take.
type Queue[R any] struct {
	mu     sync.Mutex
	high   []R
	low    []intake[R]
	closed bool
	want   int // Put wakes Take when this many requests wait
	wake   chan struct{}

	// State of Take: when it last returned, and with how many requests.
	took time.Time
	size int
}

type intake[R any] struct {
	request R
	records int
}

// New returns an empty queue.
func New[R any]() *Queue[R] { return &Queue[R]{want: 1, wake: make(chan struct{}, 1)} }

// Put adds a request; records is the number of its records, 0 for a step. After Close it
// fails with [journal.ErrClosed].
func (q *Queue[R]) Put(r R, records int) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return journal.ErrClosed
	}
	if records > 0 {
		q.low = append(q.low, intake[R]{r, records})
	} else {
		q.high = append(q.high, r)
	}
	wanted := q.waiting() >= q.want
	q.mu.Unlock()
	if wanted {
		q.signal()
	}
	return nil
}

// waiting returns how many requests wait; the caller holds mu.
func (q *Queue[R]) waiting() int { return len(q.high) + len(q.low) }

// Close refuses further requests. Take still returns those in the queue.
func (q *Queue[R]) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// Closed reports whether Close was called.
func (q *Queue[R]) Closed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// Len returns how many requests wait.
func (q *Queue[R]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting()
}

// Take waits for requests and moves those of the next transaction into batch: the steps
// first, but never without waiting intake. It returns nil when the queue is closed and
// empty.
//
// Requests share the cost of their transaction. So after a transaction with several
// requests Take waits for more, as long as that transaction took: no request waits more
// than twice as long because of that. After a transaction with one request it does not
// wait, because there may be no other caller.
func (q *Queue[R]) Take(batch []R) []R {
	if q.size > 1 {
		q.gather(min(time.Since(q.took), maxSpan))
	}
	batch = q.take(batch)
	q.took, q.size = time.Now(), len(batch)
	return batch
}

// gather waits until enough requests wait, the span is over or the queue is closed.
func (q *Queue[R]) gather(span time.Duration) {
	wanting := func(n int) (there bool) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.want = n
		return q.closed || q.waiting() >= n
	}
	defer wanting(1)
	if span <= 0 || wanting(enough) {
		return
	}
	timer := time.NewTimer(span)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-q.wake: // it may be the signal of requests that were taken since
			if wanting(enough) {
				return
			}
		}
	}
}

func (q *Queue[R]) take(batch []R) []R {
	for {
		q.mu.Lock()
		n := min(len(q.high), MaxRequests-min(len(q.low), 1))
		batch = append(batch, q.high[:n]...)
		q.high = remaining(q.high, n)
		limit := MaxRecords
		if n > 0 {
			limit = besideSteps
		}
		m, records := 0, 0
		for m < len(q.low) && len(batch) < MaxRequests && (m == 0 || records+q.low[m].records <= limit) {
			records += q.low[m].records
			batch = append(batch, q.low[m].request)
			m++
		}
		q.low = remaining(q.low, m)
		closed := q.closed
		q.mu.Unlock()
		if len(batch) > 0 {
			return batch
		}
		if closed {
			return nil
		}
		<-q.wake
	}
}

func (q *Queue[R]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// remaining drops the first n and reuses their space.
func remaining[T any](rs []T, n int) []T {
	k := copy(rs, rs[n:])
	clear(rs[k:])
	return rs[:k]
}
