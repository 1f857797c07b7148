package engine

import (
	"slices"
	"sync"
	"time"
)

// slotQuota divide places among the accounts: each has a few of its own, that no
// other can take, and half of all are for whoever comes first.
type slotQuota struct {
	reserved int // places of each account's own
	shared   int
}

func divide(places, accounts int) slotQuota {
	own := max(1, places/(2*accounts))
	if accounts == 1 {
		own = places
	}
	return slotQuota{reserved: own, shared: max(0, places-own*accounts)}
}

// slots are one account's view of a divided number of places.
type slots struct {
	reserved chan struct{}
	shared   *sharedSlots
	held     *int // of the shared ones, by this account; under the commons' mu
}

func newSlots(own int, c *sharedSlots) slots { return slots{make(chan struct{}, own), c, new(int)} }

// acquire gets a place and returns the way to give it back, or nil when the
// instant by comes or one of the channels ends first.
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

// sharedSlots are the places that all accounts share. Where several wait for one,
// the account that holds the fewest gets it: one that has much to do would
// otherwise have everybody stand behind all of its calls.
type sharedSlots struct {
	mu      sync.Mutex
	none    bool // there is no shared place at all
	free    int
	waiting []*waiter // in order of arrival
}

type waiter struct {
	held    *int
	granted chan struct{} // closed
}

func newSharedSlots(n int) *sharedSlots { return &sharedSlots{free: n, none: n == 0} }

// acquire gets a place, or waits for one; whoever does not want it any more leaves.
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

// cancel ends the wait, and gives the place back where it was granted meanwhile.
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

// dispatch gives out what is free; the caller holds mu.
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
