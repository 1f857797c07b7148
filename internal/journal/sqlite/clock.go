package sqlite

import (
	"math"
	"time"
)

// A clock is the journal's time: the wall clock's at the opening, plus the time that a
// monotonic clock has counted since. So a change of the wall clock while the process runs
// neither ends a lease nor makes anything due. The next process starts from the wall clock
// again. The clock is not raised to the highest stored time, because one wrong clock would
// then put the journal into the future for ever. The effects of a clock that was set back
// are bounded elsewhere: no lease outlives its process, and a ledger counts from the
// opening at the latest.
type clock struct {
	now   func() time.Time
	start time.Time // with its monotonic reading
	base  int64     // start in microseconds
}

func newClock(now func() time.Time) *clock {
	start := now()
	// A whole microsecond, as in everything stored, so that an instant that is stored and
	// read is the same.
	start = start.Add(-time.Duration(start.Nanosecond() % 1000))
	return &clock{now: now, start: start, base: start.UnixMicro()}
}

// Now is the present time in microseconds.
func (c *clock) Now() int64 { return c.base + c.now().Sub(c.start).Microseconds() }

// Stamp converts a caller's instant into the journal's time. The zero time is 0. An
// instant from the clock of this process has a monotonic reading, which is used.
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

// StampUp is Stamp, rounded up to the next whole microsecond: for the end of a wait.
// Rounded down, a permit would be available too early.
func (c *clock) StampUp(t time.Time) int64 {
	at := c.Stamp(t)
	if at != 0 && c.Instant(at).Before(t) {
		at++
	}
	return at
}

// Instant is the inverse of Stamp: an instant that a caller may compare with its own
// clock.
func (c *clock) Instant(micros int64) time.Time {
	if d := micros - c.base; d > math.MinInt64/1000 && d < math.MaxInt64/1000 {
		return c.start.Add(time.Duration(d) * time.Microsecond)
	}
	return time.UnixMicro(micros).UTC()
}
