package engine

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A scheduler starts goroutines, waits and returns random numbers for the engine. A
// test can replace it and run the same code one step at a time, in an order that a seed
// decides.
type scheduler interface {
	// spawn runs f concurrently.
	spawn(f func())
	// parallel runs f for 0 to n-1 concurrently and returns after the last.
	parallel(n int, f func(i int))
	// sleep waits; it returns false if ctx ends first.
	sleep(ctx context.Context, d time.Duration) bool
	// acquire waits for a slot; see slots.acquire.
	acquire(p slots, by time.Time, stop <-chan struct{}) func()
	// rand returns a number below n, which is above 0.
	rand(n int64) int64
}

// realScheduler uses goroutines, timers and random numbers.
type realScheduler struct{}

func (realScheduler) spawn(f func()) { go f() }

func (realScheduler) parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func (realScheduler) sleep(ctx context.Context, d time.Duration) bool { return sleep(ctx, d) }

func (realScheduler) acquire(p slots, by time.Time, stop <-chan struct{}) func() {
	return p.acquire(by, stop)
}

func (realScheduler) rand(n int64) int64 { return rand.Int64N(n) } // #nosec G404 -- spreads load, guards nothing
