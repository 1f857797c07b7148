package postgres

import (
	"errors"
	"time"

	"invoicebox-worker/internal/journal"
)

// One of two has the turn, whatever becomes of its sessions; what it gave back
// or did not keep is the other's, and it changes nothing more.
func testTurns(b *bed) {
	one, two := b.open(), b.open()
	// As after many turns.
	b.server.Exec(b, one.config.Database, "UPDATE relay_lease SET term = 1000000000000")
	had, err := one.TakeTurn(b.Context())
	b.ok(err)
	b.ok(one.MarkPublished(b.Context(), []journal.Published{{Row: 1}}))
	if left := time.Until(had.Until); left > turnLasts {
		b.Errorf("the turn is believed in for %v", left)
	}
	taken := func() {
		b.Helper()
		if _, err := two.TakeTurn(b.Context()); !errors.Is(err, journal.ErrTurnTaken) {
			b.Fatalf("two have the turn: %v", err)
		}
	}
	refused := func(what string, j *Journal) {
		b.Helper()
		// The first step after a lost session fails with that.
		b.eventually(what, func() bool {
			err := j.MarkPublished(b.Context(), []journal.Published{{Row: 1}})
			if err == nil {
				b.Fatal(what)
			}
			return errors.Is(err, journal.ErrStale)
		})
	}
	taken()
	b.end(one.config.Database)
	b.eventually("it cannot keep the turn", func() bool {
		again, err := one.TakeTurn(b.Context())
		if err == nil && again.Number != had.Number {
			b.Fatalf("%+v after %+v", again, had)
		}
		return err == nil
	})
	b.eventually("nobody answers", func() bool {
		_, err := two.Stats(b.Context())
		return err == nil
	})
	taken()

	// Given back, with the session there again that hears of it.
	b.eventually("it hears nothing", func() bool {
		b.ok(one.GiveTurn(b.Context()))
		select {
		case <-two.TurnFreed():
			return true
		case <-time.After(100 * time.Millisecond):
			_, err := one.TakeTurn(b.Context())
			b.ok(err)
			return false
		}
	})
	next, err := two.TakeTurn(b.Context())
	if b.ok(err); next.Number <= had.Number {
		b.Errorf("%+v after %+v", next, had)
	}
	if _, err := one.Pending(b.Context(), 0, 1, 1); !errors.Is(err, journal.ErrStale) {
		b.Errorf("the first one reads: %v", err)
	}
	refused("the first one marks", one)

	// Not kept.
	began := time.Now()
	b.eventually("it was not freed", func() bool {
		_, err := one.TakeTurn(b.Context())
		return err == nil
	})
	took := time.Since(began)
	b.Logf("a turn that was not kept was free after %v", took)
	if time.Now().Before(next.Until) {
		b.Error("it was freed while its holder believed in it")
	}
	refused("the second one marks", two)
}
