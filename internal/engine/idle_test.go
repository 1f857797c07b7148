package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
)

// A heldJournal does not return from the end of leases until a channel is closed.
type heldJournal struct {
	*testJournal
	until atomic.Pointer[chan struct{}]
}

func (g *heldJournal) ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error) {
	if until := g.until.Load(); until != nil {
		<-*until
	}
	return g.testJournal.ReleaseExpiredLeases(ctx)
}

// A slowJournal takes a minute for each claim, and has nothing left when it is made.
type slowJournal struct{ *testJournal }

func (slowJournal) Claim(context.Context, journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	time.Sleep(time.Minute)
	return nil, nil
}

// Each claim is a step, also while there is always more to claim.
func TestIdle_MuchToClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.cfg.Journal = slowJournal{b.j}
		b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		for range 20 {
			time.Sleep(30 * time.Second)
			if got := b.engine.Idle(); got > 2*time.Minute {
				t.Fatalf("it made no step for %v", got)
			}
		}
		b.finish()
	})
}

// The dispatcher makes steps while it has nothing to do and while the journal fails, and
// none while a call of the journal does not return.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		held := &heldJournal{testJournal: b.j}
		b.cfg.Journal = held
		b.start()
		longest := func(d time.Duration) (longest time.Duration) {
			for range int(d / time.Second) {
				time.Sleep(time.Second)
				longest = max(longest, b.engine.Idle())
			}
			return longest
		}
		if got := longest(3 * time.Minute); got > time.Minute {
			t.Errorf("without work it made no step for %v", got)
		}
		b.j.failing(func(step string, _ bool) error {
			if step == "ReleaseExpiredLeases" {
				return errors.New("the journal fails")
			}
			return nil
		})
		if got := longest(3 * time.Minute); got > time.Minute {
			t.Errorf("while the journal failed it made no step for %v", got)
		}
		b.j.failing(nil)
		until := make(chan struct{})
		held.until.Store(&until)
		if got := longest(10 * time.Minute); got < 9*time.Minute {
			t.Errorf("while a call did not return it made no step for %v only", got)
		}
		held.until.Store(nil)
		close(until)
		time.Sleep(time.Minute)
		if got := b.engine.Idle(); got > 30*time.Second {
			t.Errorf("after that it made no step for %v", got)
		}
		b.finish()
		if got := b.engine.Idle(); got != 0 {
			t.Errorf("after its end: %v", got)
		}
	})
}
