package sqlite

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A request is what a brute-force ledger remembers: the instant from which its
// window counts.
type bruteLedger map[journal.AttemptID]int64

func (b bruteLedger) free(now int64, limit int, window time.Duration) (n int, next int64) {
	var alive []int64
	for _, from := range b {
		if from+window.Microseconds() > now {
			alive = append(alive, from)
		}
	}
	if n = limit - len(alive); n > 0 {
		return n, 0
	}
	if limit <= 0 {
		return 0, now + window.Microseconds()
	}
	// There is a permit when as many are left as make limit - 1.
	for {
		oldest := 0
		for i := range alive {
			if alive[i] < alive[oldest] {
				oldest = i
			}
		}
		next = alive[oldest] + window.Microseconds()
		alive[oldest] = alive[len(alive)-1]
		alive = alive[:len(alive)-1]
		if len(alive) < limit {
			return 0, next
		}
	}
}

func TestLedgerCountsAsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.IntRange(1, 50).Draw(t, "window")) * time.Microsecond
		limit := rapid.IntRange(0, 6).Draw(t, "limit")
		l, brute := newLedger(), bruteLedger{}
		var open []journal.AttemptID
		now, id := int64(1000), journal.AttemptID(0)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				id++
				from := now + rapid.Int64Range(0, 40).Draw(t, "bound")
				l.take(id, from)
				brute[id] = from
				open = append(open, id)
			},
			"untake": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				last := open[len(open)-1]
				open = open[:len(open)-1]
				l.removeOpen(last)
				delete(brute, last)
			},
			"end": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				ended := open[i]
				open = append(open[:i], open[i+1:]...)
				counted := rapid.Bool().Draw(t, "counted")
				from := now - rapid.Int64Range(0, 5).Draw(t, "ago") + rapid.Int64Range(0, 10).Draw(t, "slack")
				l.end(ended, from, counted)
				delete(brute, ended)
				if counted {
					brute[ended] = from
				}
			},
			"wait": func(t *rapid.T) { now += rapid.Int64Range(0, 30).Draw(t, "µs") },
			"limit": func(t *rapid.T) {
				limit = rapid.IntRange(0, 6).Draw(t, "limit")
			},
			"": func(t *rapid.T) {
				n, next := l.free(now, limit, window)
				wantN, wantNext := brute.free(now, limit, window)
				if max(n, 0) != max(wantN, 0) || next != wantNext {
					t.Fatalf("%d free, next %d; want %d, %d", n, next, wantN, wantNext)
				}
			},
		})
	})
}

// A large limit is counted in buckets: never more than the limit allows, and
// in little memory.
func TestLargeLedgerErrsOnTheSafeSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit, window = steps.ExactLimit + 1, 30 * time.Second
		l, brute := newLedger(), bruteLedger{}
		now, id := int64(1<<40), journal.AttemptID(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += rapid.Int64Range(0, 400_000).Draw(t, "wait")
			id++
			l.take(id, rounded(now+90_000_000, limit, window))
			if rapid.Bool().Draw(t, "ends") {
				l.end(id, rounded(now, limit, window), true)
				brute[id] = now
			} else {
				brute[id] = now + 90_000_000
			}
			n, _ := l.free(now, limit, window)
			if want, _ := brute.free(now, limit, window); n > want {
				t.Fatalf("%d free, really %d", n, want)
			} else if want-n > 50 {
				t.Fatalf("%d free, really %d: too far on the safe side", n, want)
			}
		}
	})
}

func TestLargeLedgerStaysSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("it is millions of steps of one goroutine")
	}
	const limit, window = 1_000_000, 30 * time.Second
	l := newLedger()
	now := int64(1 << 40)
	for id := journal.AttemptID(1); id <= 3_000_000; id++ {
		now += 50 // 20,000 a second for two and a half minutes
		l.take(id, rounded(now+90_000_000, limit, window))
		l.end(id, rounded(now, limit, window), true)
		if id%1000 == 0 {
			l.free(now, limit, window)
		}
	}
	if len(l.buckets) > 3*steps.ExactLimit || len(l.open) != 0 {
		t.Fatalf("%d buckets, %d open", len(l.buckets), len(l.open))
	}
	// Attempts that never end leave as well.
	for id := journal.AttemptID(1); id <= 200_000; id++ {
		now += 10_000
		l.take(id, rounded(now+90_000_000, limit, window))
		l.free(now, limit, window)
	}
	if len(l.open) > 3*12_000 {
		t.Fatalf("%d open attempts are remembered", len(l.open))
	}
}
