package engine

import (
	"slices"
	"sync"
	"time"
)

// shares divide places among the accounts: each has a few of its own, that no
// other can take, and half of all are for whoever comes first.
type shares struct {
	own    int // places of each account's own
	shared int
}

func divide(places, accounts int) shares {
	own := max(1, places/(2*accounts))
	if accounts == 1 {
		own = places
	}
	return shares{own: own, shared: max(0, places-own*accounts)}
}

// places are one account's view of a divided number of places.
type places struct {
	own    chan struct{}
	shared *commons
	held   *int // of the shared ones, by this account; under the commons' mu
}

func newPlaces(own int, c *commons) places { return places{make(chan struct{}, own), c, new(int)} }

// take gets a place and returns the way to give it back, or nil when the
// instant by comes or one of the channels ends first.
func (p places) take(by time.Time, stop ...<-chan struct{}) func() {
	select {
	case p.own <- struct{}{}:
		return p.giveOwn
	default:
	}
	w := p.shared.ask(p.held)
	select {
	case <-w.granted:
		return p.giveShared
	default:
	}
	var s [2]<-chan struct{}
	copy(s[:], stop)
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case p.own <- struct{}{}:
		p.shared.leave(w)
		return p.giveOwn
	case <-w.granted:
		return p.giveShared
	case <-timer.C:
	case <-s[0]:
	case <-s[1]:
	}
	p.shared.leave(w)
	return nil
}

func (p places) giveOwn()    { <-p.own }
func (p places) giveShared() { p.shared.give(p.held) }

// commons are the places that all accounts share. Where several wait for one,
// the account that holds the fewest gets it: one that has much to do would
// otherwise have everybody stand behind all of its calls.
type commons struct {
	mu      sync.Mutex
	none    bool // there is no shared place at all
	free    int
	waiting []*waiter // in order of arrival
}

type waiter struct {
	held    *int
	granted chan struct{} // closed
}

func newCommons(n int) *commons { return &commons{free: n, none: n == 0} }

// ask gets a place, or waits for one; whoever does not want it any more leaves.
func (c *commons) ask(held *int) *waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &waiter{held, make(chan struct{})}
	if c.none {
		return w
	}
	c.waiting = append(c.waiting, w)
	c.grant()
	return w
}

func (c *commons) give(held *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*held--
	c.free++
	c.grant()
}

// leave ends the wait, and gives the place back where it was granted meanwhile.
func (c *commons) leave(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.granted:
		*w.held--
		c.free++
		c.grant()
	default:
		c.waiting = slices.DeleteFunc(c.waiting, func(other *waiter) bool { return other == w })
	}
}

// grant gives out what is free; the caller holds mu.
func (c *commons) grant() {
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
