package sqlite

import (
	"slices"
	"sort"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A ledger counts the requests of one sliding window. For each it has the instant after
// which one window has to pass until its permit is available; for a request in flight that
// is an upper bound. All times are in microseconds.
//
// A ledger has one window while the journal is open, because its permits come from the
// configuration of this process. With a longer window it would lack the requests that had
// left the shorter one. PostgreSQL has ledgers for replicas with different configurations.
//
// Entries of one instant share a bucket. If the limit is so large that an entry for each
// request would cost memory, instants are rounded up to a fraction of the window. A permit
// is then available slightly late, never early.
type ledger struct {
	buckets []bucket // by rising from
	total   int
	open    map[journal.AttemptID]int64 // in flight: the instant of its bucket
	refused bool                        // a caller waits for a permit
	limit   int                         // as last asked for
	window  time.Duration
	slack   time.Duration // as first asked for
}

type bucket struct {
	from int64
	n    int
}

func newLedger() *ledger { return &ledger{open: make(map[journal.AttemptID]int64)} }

// rounded rounds an instant up to the grain of a limit.
func rounded(from int64, limit int, window time.Duration) int64 {
	return steps.RoundUp(from, steps.Grain(limit, window))
}

// prune removes the permits that were available again before or at now.
func (l *ledger) prune(now int64, window time.Duration) {
	i := 0
	for i < len(l.buckets) && l.buckets[i].from+window.Microseconds() <= now {
		l.total -= l.buckets[i].n
		i++
	}
	if i == 0 {
		return
	}
	l.buckets = slices.Delete(l.buckets, 0, i)
	// Attempts that never end expire as well. They are removed rarely, because that takes
	// long.
	if len(l.open) > 64 && len(l.open) > 2*l.total {
		for id, from := range l.open {
			if from+window.Microseconds() <= now {
				delete(l.open, id)
			}
		}
	}
}

// free returns how many permits are left and, if none is, when the next one is available.
func (l *ledger) free(now int64, limit int, window time.Duration) (n int, next int64) {
	l.prune(now, window)
	if n = limit - l.total; n > 0 {
		return n, 0
	}
	left := l.total
	for _, b := range l.buckets {
		if left -= b.n; left < limit {
			return 0, b.from + window.Microseconds()
		}
	}
	return 0, now + window.Microseconds() // a limit of zero or less never has one
}

// take adds an attempt in flight, which counts from the given instant unless it ends
// before.
func (l *ledger) take(id journal.AttemptID, from int64) {
	l.add(from)
	l.open[id] = from
}

// removeOpen removes an attempt from those in flight.
func (l *ledger) removeOpen(id journal.AttemptID) {
	if from, ok := l.open[id]; ok {
		delete(l.open, id)
		l.remove(from)
	}
}

// end replaces the upper bound of an attempt by its end. If counted is false, the attempt
// does not count.
func (l *ledger) end(id journal.AttemptID, from int64, counted bool) {
	l.removeOpen(id)
	if counted {
		l.add(from)
	}
}

func (l *ledger) find(from int64) (int, bool) {
	// Most instants are among the newest.
	if n := len(l.buckets); n == 0 || l.buckets[n-1].from < from {
		return n, false
	}
	i := sort.Search(len(l.buckets), func(i int) bool { return l.buckets[i].from >= from })
	return i, l.buckets[i].from == from
}

func (l *ledger) add(from int64) {
	i, ok := l.find(from)
	if ok {
		l.buckets[i].n++
	} else {
		l.buckets = slices.Insert(l.buckets, i, bucket{from, 1})
	}
	l.total++
}

func (l *ledger) remove(from int64) {
	i, ok := l.find(from)
	if !ok {
		return // it has expired
	}
	if l.buckets[i].n--; l.buckets[i].n == 0 {
		l.buckets = slices.Delete(l.buckets, i, i+1)
	}
	l.total--
}
