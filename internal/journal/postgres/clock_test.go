package postgres

import (
	"testing"
	"time"
)

// A tight pair is kept against a loose one that agrees with it, and given up as
// soon as the database's time cannot be what it says.
func TestTheClockBelievesTheDatabase(t *testing.T) {
	const tight, loose = time.Millisecond, 100 * time.Millisecond
	for name, x := range map[string]struct {
		stepped time.Duration // of the database's clock against this process's
		keeps   bool
	}{
		"in step":                      {0, true},
		"as far as the pairs allow":    {50 * time.Millisecond, true},
		"this process was suspended":   {time.Minute, false},
		"the database's clock was set": {-time.Minute, false},
	} {
		base, at := time.Now(), int64(5_000_000_000)
		c := newClock(nil)
		c.learn(base, base.Add(tight), at)
		asked := base.Add(time.Second)
		reported := at + (time.Second + x.stepped).Microseconds() + loose.Microseconds()/4
		c.learn(asked, asked.Add(loose), reported)
		if kept := c.at == at; kept != x.keeps {
			t.Errorf("%s: kept %v", name, kept)
		}
		// Never earlier than it is.
		if now := c.Stamp(asked.Add(loose)); now < reported {
			t.Errorf("%s: %d µs before what the database says", name, reported-now)
		}
	}
}
