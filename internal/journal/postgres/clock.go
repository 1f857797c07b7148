package postgres

import (
	"sync"
	"time"
)

const (
	// presentSQL is the database's clock in microseconds; a test sets it.
	presentSQL = "SELECT coalesce($1::bigint, " + serverClock + ")"
	// serverClock is the server's clock in microseconds.
	serverClock = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
)

// A clock converts between the database's time, by which leases, waits and permits are
// counted, and the instants of this process. It learns pairs of both with every
// transaction. The tightest pair is used for a while, so that the drift of the clocks does
// not add up. An inexact result is too late rather than too early: nothing is due, and no
// permit available, before its time.
type clock struct {
	now  func() time.Time
	test bool // now is the database's clock, too

	mu     sync.Mutex
	before time.Time // the local instants before and after
	after  time.Time
	at     int64 // the database's time
}

// holds is for how long a pair is preferred to a looser one.
const holds = 10 * time.Second

func newClock(now func() time.Time) *clock {
	if now == nil {
		return &clock{now: time.Now}
	}
	return &clock{now: now, test: true}
}

// given is the argument of presentSQL: the test's time, or NULL.
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
	// The clocks have drifted apart, a machine was suspended, or a clock was set: the pair
	// is wrong, however tight it is.
	belied := at > c.at+after.Sub(c.before).Microseconds() || at < c.at+before.Sub(c.after).Microseconds()
	if c.at == 0 || c.test || tighter || belied || after.Sub(c.after) > holds {
		c.before, c.after, c.at = before, after, at
	}
}

// Now is approximately the present time of the database's clock.
func (c *clock) Now() int64 { return c.Stamp(c.now()) }

// Stamp converts an instant of this process into the database's time, rather too late than
// too early. The zero time is 0.
func (c *clock) Stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at + t.Sub(c.before).Microseconds()
}

// StampUp is Stamp, rounded up to the next whole microsecond: for the end of a wait.
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

// Instant is the inverse of Stamp, rather too late than too early.
func (c *clock) Instant(micros int64) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.after.Add(time.Duration(micros-c.at) * time.Microsecond)
}
