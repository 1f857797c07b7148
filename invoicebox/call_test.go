package invoicebox

import (
	"testing"
	"time"
	"unsafe"
)

// monotonic moves the monotonic reading of an instant, and leaves its wall clock.
func monotonic(t time.Time, d time.Duration) time.Time {
	*(*int64)(unsafe.Add(unsafe.Pointer(&t), unsafe.Sizeof(uint64(0)))) += int64(d) // #nosec G103 -- the second field of a Time; no function gives such a one
	return t
}

// A machine that was suspended shows an old monotonic time, one whose clock was
// set back an old wall time: neither makes a request early again.
func TestSendByIsKeptByBothClocks(t *testing.T) {
	by := time.Now()
	for name, c := range map[string]struct {
		now  time.Time
		want bool
	}{
		"before":                 {by.Add(-time.Second), false},
		"at it":                  {by, true},
		"after":                  {by.Add(time.Second), true},
		"suspended":              {monotonic(by.Add(time.Second), -time.Minute), true},
		"the clock was set back": {monotonic(by.Add(-time.Second), time.Minute), true},
		"both before, apart":     {monotonic(by.Add(-time.Hour), time.Hour-time.Second), false},
	} {
		if got := passed(by, c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	before := time.Now()
	if d := monotonic(before, time.Hour).Sub(before); d != time.Hour {
		t.Fatalf("the monotonic reading is not where it is looked for: %v", d)
	}
}
