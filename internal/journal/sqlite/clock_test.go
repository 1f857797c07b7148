package sqlite

import (
	"testing"
	"time"
)

// What is stored and read back is the same instant, so that nobody takes a
// circuit breaker of its own for one that was changed from outside.
func TestAnInstantComesBackAsItWas(t *testing.T) {
	start := time.Now().Truncate(time.Microsecond).Add(789 * time.Nanosecond)
	c := newClock(func() time.Time { return start })
	for i := range 1000 {
		for _, x := range []time.Time{
			start.Add(time.Duration(i) * time.Hour).Truncate(time.Millisecond),
			start.Add(-time.Duration(i) * 1234567 * time.Microsecond).Truncate(time.Microsecond),
		} {
			if back := c.Instant(c.Stamp(x)); !back.Equal(x) {
				t.Fatalf("%v came back as %v", x, back)
			}
		}
	}
}
