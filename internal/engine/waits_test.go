package engine

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// Waits are exponential with full jitter and capped; what an answer asks for is
// obeyed, up to the cap of limits.
func TestWaits_WaitTimes(t *testing.T) {
	b := newHarness(t, good)
	p, err := New(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	acc := p.accounts["default"]
	for waits, most := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 8: 256 * time.Second, 9: 5 * time.Minute, 60: 5 * time.Minute, 10_000: 5 * time.Minute} {
		task := &task{acc: acc}
		task.Waits = waits
		var sum, low, high time.Duration = 0, most, 0
		const n = 4000
		for range n {
			w := p.backoff(task, invoicebox.Classification{Outcome: invoicebox.NotExecuted})
			if w <= 0 || w > most {
				t.Fatalf("%d waits before: %v, at most %v", waits, w, most)
			}
			sum, low, high = sum+w, min(low, w), max(high, w)
		}
		if mean := sum / n; mean < most*45/100 || mean > most*55/100 || low > most/50 || high < most*98/100 {
			t.Errorf("%d waits before: from %v to %v, mean %v: not spread over all of %v", waits, low, high, mean, most)
		}
	}
	for _, c := range []struct {
		v    invoicebox.Classification
		want time.Duration
	}{
		{invoicebox.Classification{Outcome: invoicebox.Limited, RetryAfter: 7 * time.Second}, 7 * time.Second},
		{invoicebox.Classification{Outcome: invoicebox.Limited, RetryAfter: 1000 * time.Hour}, 15 * time.Minute},
		{invoicebox.Classification{Outcome: invoicebox.Limited}, DefaultWindow},
		{invoicebox.Classification{Outcome: invoicebox.ProbablyNotExecuted, RetryAfter: 90 * time.Second}, 90 * time.Second},
		{invoicebox.Classification{Outcome: invoicebox.ProbablyNotExecuted, RetryAfter: 24 * time.Hour}, 15 * time.Minute},
		{invoicebox.Classification{Outcome: invoicebox.NotExecuted, RetryAfter: time.Second}, time.Second},
	} {
		if got := p.backoff(&task{acc: acc}, c.v); got != c.want {
			t.Errorf("%v, Retry-After %v: waits %v, want %v", c.v.Outcome, c.v.RetryAfter, got, c.want)
		}
	}
}

// What waits holds nothing: no place in flight, no place for calls, no claim to
// a permit. Beside as much waiting work as one likes new work is sent at once.
func TestWaits_WaitingHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early := answer{status: 425, header: http429("900")}
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			if value != "new@example.com" {
				return early
			}
			return good(op, value, n)
		})
		b.cfg.Concurrency, b.cfg.Accounts[0].Requests, b.cfg.EgressRequests = 2, 1000, 1000
		const waiting = 300
		for i := range waiting {
			b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprint(i, "@example.com"))
		}
		b.start()
		b.until(time.Minute, "all wait", func() bool { return b.j.states()[journal.Waiting] == waiting })
		time.Sleep(DefaultWindow + time.Second)
		synctest.Wait()
		acc := b.engine.accounts["default"]
		b.engine.mu.Lock()
		inFlight, unsent, room := acc.inFlight+b.engine.inFlight, acc.pendingSends+b.engine.pendingSends, b.engine.freeCapacity(acc)
		b.engine.mu.Unlock()
		if held := acc.callSlots.taken() + acc.attemptSlots.taken(); inFlight != 0 || unsent != 0 || held != 0 || room != 2*inFlightPerCall {
			t.Errorf("%d waiting operations hold %d in flight, %d permits to come, %d places; room for %d", waiting, inFlight, unsent, held, room)
		}
		if n, _, err := b.j.AvailablePermits(t.Context(), acc.ledger); err != nil || n != 1000 {
			t.Errorf("%d permits are free, error %v", n, err)
		}
		op := b.add(journal.Invite, "new", "new@example.com")
		time.Sleep(b.api.latency)
		synctest.Wait()
		b.expect(op, journal.Done, onboarding.ReasonSent, "invited sent")
		b.finish()
	})
}

// A journal that is full for an hour, from the middle of everything: no call
// begins, what was answered is kept, and afterwards all is done, each code sent
// once.
func TestWaits_FullJournalStartsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.cfg.Concurrency, b.cfg.Accounts[0].Requests, b.cfg.EgressRequests = 8, 1000, 1000
		var full atomic.Bool
		b.j.failing(func(_ string, done bool) error {
			if full.Load() && !done {
				return fmt.Errorf("commit: %w", journal.ErrFull)
			}
			return nil
		})
		var ops []*operation
		for i := range 100 {
			ops = append(ops, b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i)))
		}
		b.start()
		time.Sleep(b.api.latency * 5 / 2) // some are done, some are under way
		full.Store(true)
		time.Sleep(DefaultRequestDeadline)
		before := len(b.api.asked(invoicebox.Activate))
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(b.api.asked(invoicebox.Activate)); n != before || n == 0 || n == len(ops) {
			t.Errorf("%d calls before, %d while the journal was full", before, n-before)
		}
		full.Store(false)
		b.until(10*time.Minute, "settled", b.j.settled)
		b.finish()
		for _, op := range ops {
			b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
		}
		sent := map[string]int{}
		for _, c := range b.api.asked(invoicebox.Activate) {
			if sent[c.value]++; sent[c.value] > 1 {
				t.Errorf("%s was sent twice", c.value)
			}
		}
	})
}

// taken is how many places of the account's view are in use.
func (p slots) taken() int {
	p.shared.mu.Lock()
	defer p.shared.mu.Unlock()
	return len(p.reserved) + *p.held
}
