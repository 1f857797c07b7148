package consumer

import "time"

// An effort is the time for which something was tried in vain. A try counts for
// no more than most: a process that was frozen, or asleep, in the middle of one
// has not tried for that long, and finds its connections dead at first.
type effort struct {
	most  time.Duration
	last  time.Time
	total time.Duration
}

func newEffort(most time.Duration) *effort { return &effort{most: most, last: time.Now()} }

// spent adds the try that has just failed, and tells the time of all.
func (e *effort) spent() time.Duration {
	now := time.Now()
	e.total += min(now.Sub(e.last), e.most)
	e.last = now
	return e.total
}
