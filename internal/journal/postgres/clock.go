package postgres

import (
	"sync"
	"time"
)

const (
	// presentSQL is the database's clock in microseconds; a test gives it.
	presentSQL = "SELECT coalesce($1::bigint, " + serverClock + ")"
	// serverClock is the server's clock in microseconds.
	serverClock = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
)

// A clock translates between the database's time, by which leases, waits and
// permits are counted, and the instants of this process. What it knows are pairs
// of both, learned with every transaction: the tightest of them holds for a
// while, so that neither clock's drift grows. Where it is not exact it errs
// towards later: nothing is due, and no permit back, before its time.
type clock struct {
	now  func() time.Time
	test bool // now is the database's clock, too

	mu     sync.Mutex
	before time.Time // the local instants around
	after  time.Time
	at     int64 // the database's time
}

// holds is how long a pair is preferred to a looser one.
const holds = 10 * time.Second

func newClock(now func() time.Time) *clock {
	if now == nil {
		return &clock{now: time.Now}
	}
	return &clock{now: now, test: true}
}

// given is the present for presentSQL: the test's, or none.
func (c *clock) given() any {
	if c.test {
		return c.now().UnixMicro()
	}
	return nil
}

func (c *clock) learn(before, after time.Time, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tighter := after.Sub(before) <= c.after.Sub(c.before)
	// The two have drifted apart, or one of the machines was suspended or its clock
	// set: what was known is wrong, however tight it is.
	belied := at > c.at+after.Sub(c.before).Microseconds() || at < c.at+before.Sub(c.after).Microseconds()
	if c.at == 0 || c.test || tighter || belied || after.Sub(c.after) > holds {
		c.before, c.after, c.at = before, after, at
	}
}

// micros is about the present by the database's clock.
func (c *clock) Now() int64 { return c.Stamp(c.now()) }

// stamp turns an instant of this process into the database's time, if in doubt
// a later one. The zero time is 0.
func (c *clock) Stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at + t.Sub(c.before).Microseconds()
}

// stampUp is stamp, rounded up to the next whole microsecond: for the end of what
// has to have passed.
func (c *clock) StampUp(t time.Time) int64 {
	at := c.Stamp(t)
	if at == 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before.Add(time.Duration(at-c.at) * time.Microsecond).Before(t) {
		at++
	}
	return at
}

// instant is the way back, if in doubt a later one.
func (c *clock) Instant(micros int64) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.after.Add(time.Duration(micros-c.at) * time.Microsecond)
}
