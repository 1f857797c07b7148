package engine

import (
	"testing"
	"testing/synctest"
	"time"
)

// The shared places go to whoever holds the fewest, whoever came first.
func TestSlots_SharedPlacesAreDividedFairly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSharedSlots(3)
		greedy, modest := newSlots(1, c), newSlots(1, c)
		never := make(chan struct{})
		var backs []func()
		for range 4 {
			backs = append(backs, greedy.acquire(time.Now(), never))
		}
		if greedy.taken() != 4 || greedy.acquire(time.Now().Add(time.Second), never) != nil {
			t.Fatalf("%d of four places are taken, and more", greedy.taken())
		}
		keep := modest.acquire(time.Now(), never)
		got := make(chan string, 10)
		for range 3 {
			go func() {
				if greedy.acquire(time.Now().Add(time.Hour), never) != nil {
					got <- "greedy"
				}
			}()
		}
		synctest.Wait()
		go func() {
			if modest.acquire(time.Now().Add(time.Hour), never) != nil {
				got <- "modest"
			}
		}()
		synctest.Wait()
		backs[3]() // a shared one
		if who := <-got; who != "modest" {
			t.Errorf("%s got the place", who)
		}
		backs[2]()
		if who := <-got; who != "greedy" {
			t.Errorf("%s got the place", who)
		}
		keep()
		time.Sleep(2 * time.Hour) // the others give up
		synctest.Wait()
		if n := len(c.waiting); n != 0 || c.free != 0 || greedy.taken() != 3 || modest.taken() != 1 {
			t.Errorf("%d wait, %d are free, %d and %d are taken", n, c.free, greedy.taken(), modest.taken())
		}
	})
}

// A place that is granted to one who is just leaving is not lost.
func TestSlots_PlaceIsNotLostByWhoLeaves(t *testing.T) {
	c := newSharedSlots(1)
	a, b := new(int), new(int)
	first := c.acquire(a)
	second := c.acquire(b)
	c.release(a) // second has it, and does not know yet
	c.cancel(second)
	if c.free != 1 || *a != 0 || *b != 0 || len(c.waiting) != 0 {
		t.Errorf("free %d, held %d and %d, waiting %d", c.free, *a, *b, len(c.waiting))
	}
	<-first.granted
	if w := newSharedSlots(0).acquire(a); len(w.granted) != 0 {
		t.Error("a place where there is none")
	}
}
