// Package backoff waits between attempts.
//
// It is not a library's, because two rules are of this project: an attempt that was
// frozen counts for little ([Elapsed]), and an attempt that the context cut short does
// not hide the error before it ([Retry]).
package backoff

import (
	"context"
	"time"
)

// Sleep waits for d, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Exponential is a wait that doubles from Min up to Max.
type Exponential struct {
	Min, Max time.Duration
	next     time.Duration
}

// Next returns the next wait.
func (e *Exponential) Next() time.Duration {
	wait := max(e.next, e.Min)
	e.next = min(2*wait, e.Max)
	return wait
}

// Wait sleeps for the next wait, or until ctx ends.
func (e *Exponential) Wait(ctx context.Context) { Sleep(ctx, e.Next()) }

// Reset begins with Min again.
func (e *Exponential) Reset() { e.next = 0 }

// Elapsed is the time for which attempts have failed. An attempt counts for at most
// Limit: a process that was frozen or asleep during one has not tried for that long,
// and finds its connections dead at first.
type Elapsed struct {
	limit time.Duration
	last  time.Time
	total time.Duration
}

// NewElapsed starts the first attempt.
func NewElapsed(limit time.Duration) *Elapsed {
	return &Elapsed{limit: limit, last: time.Now()}
}

// Failed adds the attempt that has just failed, and returns the time of all.
func (e *Elapsed) Failed() time.Duration {
	now := time.Now()
	e.total += min(now.Sub(e.last), e.limit)
	e.last = now
	return e.total
}

// Retry calls f until it succeeds, its error is final, or ctx ends, and waits between
// the calls. If ctx ends, the error is that of the last call that ctx did not cut short.
func Retry(ctx context.Context, wait time.Duration, final func(error) bool, f func() error) error {
	var last error
	for {
		err := f()
		if err == nil || final(err) {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if Sleep(ctx, wait); ctx.Err() != nil {
			return last
		}
	}
}
