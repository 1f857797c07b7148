package engine

import (
	"slices"
	"sync"
	"time"
)

// slotQuota divides slots among the accounts. Each account has a few reserved slots, which
// no other account can use. All accounts share the other half. docs/performance.md says why
// one semaphore is not enough.
type slotQuota struct {
	reserved int // of each account
	shared   int
}

func divide(places, accounts int) slotQuota {
	own := max(1, places/(2*accounts))
	if accounts == 1 {
		own = places
	}
	return slotQuota{reserved: own, shared: max(0, places-own*accounts)}
}

// slots are those that one account can acquire: its reserved ones and the shared ones.
type slots struct {
	reserved chan struct{}
	shared   *sharedSlots
	held     *int // shared slots that this account has; guarded by shared.mu
}

func newSlots(own int, c *sharedSlots) slots { return slots{make(chan struct{}, own), c, new(int)} }

// acquire waits for a slot and returns the function that releases it, or nil if the instant
// by comes or one of the channels is closed first.
func (p slots) acquire(by time.Time, stop ...<-chan struct{}) func() {
	select {
	case p.reserved <- struct{}{}:
		return p.releaseReserved
	default:
	}
	w := p.shared.acquire(p.held)
	select {
	case <-w.granted:
		return p.releaseShared
	default:
	}
	var s [2]<-chan struct{}
	copy(s[:], stop)
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case p.reserved <- struct{}{}:
		p.shared.cancel(w)
		return p.releaseReserved
	case <-w.granted:
		return p.releaseShared
	case <-timer.C:
	case <-s[0]:
	case <-s[1]:
	}
	p.shared.cancel(w)
	return nil
}

func (p slots) releaseReserved() { <-p.reserved }
func (p slots) releaseShared()   { p.shared.release(p.held) }

// sharedSlots are the slots that all accounts share. The waiting account that has the fewest
// of them gets the next one. Otherwise the other accounts would wait behind all calls of a
// busy one.
type sharedSlots struct {
	mu      sync.Mutex
	none    bool // no slot is shared
	free    int
	waiting []*waiter // in order of arrival
}

type waiter struct {
	held    *int
	granted chan struct{} // closed
}

func newSharedSlots(n int) *sharedSlots { return &sharedSlots{free: n, none: n == 0} }

// acquire begins to wait for a slot; cancel ends the wait.
func (c *sharedSlots) acquire(held *int) *waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &waiter{held, make(chan struct{})}
	if c.none {
		return w
	}
	c.waiting = append(c.waiting, w)
	c.dispatch()
	return w
}

func (c *sharedSlots) release(held *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*held--
	c.free++
	c.dispatch()
}

// cancel ends the wait, and releases the slot if it was granted in the meantime.
func (c *sharedSlots) cancel(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.granted:
		*w.held--
		c.free++
		c.dispatch()
	default:
		c.waiting = slices.DeleteFunc(c.waiting, func(other *waiter) bool { return other == w })
	}
}

// dispatch grants the free slots; the caller holds mu.
func (c *sharedSlots) dispatch() {
	for c.free > 0 && len(c.waiting) > 0 {
		next := 0
		for i, w := range c.waiting {
			if *w.held < *c.waiting[next].held {
				next = i
			}
		}
		w := c.waiting[next]
		c.waiting = slices.Delete(c.waiting, next, next+1)
		c.free--
		*w.held++
		close(w.granted)
	}
}
