package postgres

import (
	"sync"
	"time"
)

// circuitTimes caches the instants of the accounts' circuit breakers as the caller set or
// got them. Until a circuit breaker changes, the caller gets the same instants. Converted
// again, they would differ after each correction of the clock's offset.
type circuitTimes struct {
	mu sync.Mutex
	of map[int64]circuitTime
}

type circuitTime struct {
	storedUntil, storedSince int64
	until, since             time.Time
}

func (g *circuitTimes) keep(account int64, t circuitTime) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = make(map[int64]circuitTime)
	}
	g.of[account] = t
}

func (g *circuitTimes) instants(account, until, since int64, c *clock) (time.Time, time.Time) {
	g.mu.Lock()
	t := g.of[account]
	g.mu.Unlock()
	if t.storedUntil == until && t.storedSince == since {
		return t.until, t.since
	}
	t = circuitTime{storedUntil: until, storedSince: since}
	if until != 0 {
		t.until = c.Instant(until)
	}
	if since != 0 {
		t.since = c.Instant(since)
	}
	g.keep(account, t)
	return t.until, t.since
}
