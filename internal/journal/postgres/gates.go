package postgres

import (
	"sync"
	"time"
)

// gateTimes caches the instants of the accounts' gates as the caller set or got them. As
// long as a gate has not changed, the caller gets the same instants. Translated again,
// they would differ after each correction of the clock's offset.
type gateTimes struct {
	mu sync.Mutex
	of map[int64]gateTime
}

type gateTime struct {
	storedUntil, storedSince int64
	until, since             time.Time
}

func (g *gateTimes) keep(account int64, t gateTime) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = make(map[int64]gateTime)
	}
	g.of[account] = t
}

func (g *gateTimes) instants(account, until, since int64, c *clock) (time.Time, time.Time) {
	g.mu.Lock()
	t := g.of[account]
	g.mu.Unlock()
	if t.storedUntil == until && t.storedSince == since {
		return t.until, t.since
	}
	t = gateTime{storedUntil: until, storedSince: since}
	if until != 0 {
		t.until = c.instant(until)
	}
	if since != 0 {
		t.since = c.instant(since)
	}
	g.keep(account, t)
	return t.until, t.since
}
