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

// An account that is closed for longer than the maximum age fails nothing:
// whatever closes it, and whatever was tried before, all is done afterwards.
func TestMaximumAge_ClosedAccountExpiresNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it is a day of virtual time")
	}
	for name, c := range map[string]struct {
		answer answer // while it is away
		person bool   // a person closes and opens it
	}{
		"paused by a person":      {answer{status: 425}, true},
		"a token that is refused": {answer{status: 401}, false},
		"unreachable":             {answer{fail: invoicebox.ReasonConnect, unsent: true}, false},
		"503 to all":              {answer{status: 503}, false},
		"limited for ever":        {answer{status: 429, header: http429("3600")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bad atomic.Bool
				bad.Store(true)
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if bad.Load() && op != invoicebox.Check {
						return c.answer
					}
					return good(op, value, n)
				})
				b.cfg.Concurrency = 4
				const away = 5 * time.Hour
				b.cfg.MaximumAge = 3 * time.Hour
				set := func(s journal.CircuitState) {
					b.j.setCircuit("default", journal.Circuit{State: s, Reason: "a person", Since: time.Now()})
				}
				var ops []*operation
				for i := range 8 {
					ops = append(ops, b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprint(i, "@example.com")))
				}
				b.start()
				if c.person {
					time.Sleep(time.Minute) // each of them has waited by now
					set(journal.CircuitPaused)
				}
				time.Sleep(away)
				if c.person {
					set(journal.CircuitActive)
				}
				bad.Store(false)
				b.until(30*time.Minute, "settled", b.j.settled)
				b.finish()
				for _, op := range ops {
					b.expect(op, journal.Done, onboarding.ReasonSent, "invited sent")
				}
			})
		})
	}
}
