package endpoint

import (
	"math"
	"sync"
	"time"
)

// A limiter is a token bucket: it holds the requests of one second, and at least one.
type limiter struct {
	mu   sync.Mutex
	left float64
	full bool // no request was taken yet
	at   time.Time
}

func newLimiter(now time.Time) *limiter { return &limiter{full: true, at: now} }

// take takes one request. If none is left, it returns after how long there is one.
func (l *limiter) take(now time.Time, rate float64) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := max(1, rate)
	if l.full {
		l.left, l.full = most, false
	}
	l.left = min(most, l.left+rate*max(0, now.Sub(l.at).Seconds()))
	l.at = now
	if l.left < 1 {
		return time.Duration(math.Ceil((1 - l.left) / rate * float64(time.Second))), false
	}
	l.left--
	return 0, true
}
