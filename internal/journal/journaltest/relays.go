package journaltest

import (
	"context"
	"errors"
	"time"

	"invoicebox-worker/internal/journal"
)

// relays: one process at a time publishes.
var relays = []part{
	{"who has the turn keeps it", func(f *fixture) {
		first := turnOf(f)
		for range 3 {
			f.clock.advance(time.Second)
			if again := turnOf(f); again.Number != first.Number || !again.Until.After(f.clock.now().Add(time.Second)) {
				f.Fatalf("%+v after %+v at %v", again, first, f.clock.now())
			}
		}
		fill(f, 2)
		out := pending(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: out[0].Row, Offset: -1}}))
		if left := pending(f); len(left) != 1 || left[0].Row != out[1].Row {
			f.Fatalf("left are %+v", left)
		}
	}},
	{"a turn that ran out is kept as long as nobody else had it", func(f *fixture) {
		first := turnOf(f)
		f.clock.advance(2 * time.Hour)
		if again := turnOf(f); again.Number != first.Number || !again.Until.After(f.clock.now()) {
			f.Fatalf("%+v after %+v", again, first)
		}
		_, err := f.j.Pending(f.ctx, 0, 1, 1)
		f.ok(err)
	}},
	{"what was given back is over", func(f *fixture) {
		fill(f, 3)
		f.ok(f.j.GiveTurn(f.ctx)) // none was had
		all := pending(f)
		first := turnOf(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[0].Row}}))
		f.ok(f.j.GiveTurn(f.ctx))
		f.ok(f.j.GiveTurn(f.ctx))
		_, err := f.j.Pending(f.ctx, 0, 10, 1<<20)
		want(f.T, err, journal.ErrStale)
		_, err = f.j.Pending(f.ctx, all[2].Row, 10, 1<<20) // where nothing waits, too
		want(f.T, err, journal.ErrStale)
		want(f.T, f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[1].Row}}), journal.ErrStale)
		if second := turnOf(f); second.Number == first.Number {
			f.Fatalf("two turns are number %d", first.Number)
		}
		if left := pending(f); len(left) != 2 || left[0].Row != all[1].Row {
			f.Fatalf("left are %+v", left)
		}
	}},
	{"a dead process's turn is free a few seconds later", func(f *fixture) {
		fill(f, 3)
		turnOf(f)
		all := pending(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[0].Row}}))
		f.crash()
		f.clock.advance(10 * time.Second)
		turnOf(f)
		left := pending(f)
		if len(left) != 2 {
			f.Fatalf("left are %+v", left)
		}
		diff(f.T, all[1:], left)
	}},
	{"a clock that went back keeps the turn from nobody for long", func(f *fixture) {
		turnOf(f)
		f.crash()
		f.clock.advance(-24 * time.Hour)
		// It is asked for every second.
		for i := 0; ; i++ {
			_, err := f.j.TakeTurn(f.ctx)
			if err == nil {
				return
			}
			want(f.T, err, journal.ErrTurnTaken)
			if i > 10 {
				f.Fatal("nobody can have it")
			}
			f.clock.advance(time.Second)
		}
	}},
	{"who does not wait takes none", func(f *fixture) {
		ended, end := context.WithCancel(f.ctx)
		end()
		if _, err := f.j.TakeTurn(ended); !errors.Is(err, context.Canceled) {
			f.Fatalf("error is %v", err)
		}
	}},
}

func turnOf(f *fixture) journal.RelayTurn {
	f.Helper()
	t, err := f.j.TakeTurn(f.ctx)
	f.ok(err)
	return t
}
