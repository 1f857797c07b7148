package engine

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// stepping is how the pool does things beside each other, waits and draws lots.
// All of it goes through here, so that a test can run the same code one step at
// a time, in an order that a seed decides.
type stepping interface {
	// start runs f beside its caller.
	start(f func())
	// all runs f for 0 to n-1 beside each other and returns after the last.
	all(n int, f func(i int))
	// sleep waits; false when ctx ends first.
	sleep(ctx context.Context, d time.Duration) bool
	// take waits for a place; see places.take.
	take(p places, by time.Time, stop <-chan struct{}) func()
	// lot is below n, which is above 0.
	lot(n int64) int64
}

// concurrently is the pool's own: goroutines, timers and chance.
type concurrently struct{}

func (concurrently) start(f func()) { go f() }

func (concurrently) all(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func (concurrently) sleep(ctx context.Context, d time.Duration) bool { return sleep(ctx, d) }

func (concurrently) take(p places, by time.Time, stop <-chan struct{}) func() {
	return p.take(by, stop)
}

func (concurrently) lot(n int64) int64 { return rand.Int64N(n) } // #nosec G404 -- spreads load, guards nothing
