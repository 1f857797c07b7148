package sqlite

import (
	"math"
	"time"
)

// A clock tells the journal's time: the wall's at the moment of opening plus
// what a monotonic clock has counted since. A step of the wall clock while the
// process runs therefore neither ends a lease nor makes anything due; the next
// process starts from the wall clock again. It is not lifted to the highest
// stored time: one wrong clock would then put the journal into the future for
// ever, and what a clock that went back could spoil is bounded elsewhere (no
// lease outlives its process, and a ledger counts from the opening at the latest).
type clock struct {
	now   func() time.Time
	start time.Time // with its monotonic reading
	base  int64     // start in microseconds
}

func newClock(now func() time.Time) *clock {
	start := now()
	// On a whole microsecond, as everything stored: what goes in and comes back
	// out is then the same instant.
	start = start.Add(-time.Duration(start.Nanosecond() % 1000))
	return &clock{now: now, start: start, base: start.UnixMicro()}
}

// micros is the present.
func (c *clock) Now() int64 { return c.base + c.now().Sub(c.start).Microseconds() }

// stamp turns a caller's instant into the journal's time. The zero time is 0.
// An instant that was read from the clock of this process carries a monotonic
// reading and is placed by it.
func (c *clock) Stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	d := t.Sub(c.start)
	if d == math.MaxInt64 || d == math.MinInt64 { // out of a Duration's reach
		return t.UnixMicro()
	}
	return c.base + d.Microseconds()
}

// stampUp is stamp, rounded up to the next whole microsecond: for the end of
// what has to have passed. Rounded down, a permit came back before its time.
func (c *clock) StampUp(t time.Time) int64 {
	at := c.Stamp(t)
	if at != 0 && c.Instant(at).Before(t) {
		at++
	}
	return at
}

// instant is the way back: what a caller may compare with its own clock.
func (c *clock) Instant(micros int64) time.Time {
	if d := micros - c.base; d > math.MinInt64/1000 && d < math.MaxInt64/1000 {
		return c.start.Add(time.Duration(d) * time.Microsecond)
	}
	return time.UnixMicro(micros).UTC()
}
