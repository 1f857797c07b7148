package move_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
)

// A shifted target has a clock of its own.
type shifted struct {
	move.Target
	by *time.Duration
}

func (s shifted) Present(ctx context.Context) (int64, error) {
	at, err := s.Target.Present(ctx)
	return at + s.by.Microseconds(), err
}

// What the database's clock counts is translated to it; and when a clock is set
// between two runs, the translation is made again.
func clockWasSet(t *testing.T, f *filled, database func(*testing.T) string) {
	path, address := f.image(t), database(t)
	if _, err := lite(t, path).Exec("INSERT OR REPLACE INTO meta (name, value) VALUES ('pruning', CAST('1700000000000000' AS BLOB))"); err != nil {
		t.Fatal(err)
	}
	by := 10 * time.Minute
	ahead := func(s sides) sides {
		inner := s.target
		s.target = func(to move.Target) move.Target {
			to = shifted{to, &by}
			if inner != nil {
				to = inner(to)
			}
			return to
		}
		return s
	}
	if _, err := f.run(t.Context(), path, address, ahead(dying(250)), nil); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	by += 50 * time.Millisecond
	if r, err := f.run(t.Context(), path, address, ahead(dying(250)), nil); !errors.Is(err, errKilled) || r.Restarted || !r.Resumed {
		t.Fatalf("%+v %v", r, err)
	}
	by = time.Hour
	r, err := f.run(t.Context(), path, address, ahead(sides{}), nil)
	if err != nil || !r.Restarted || r.Resumed {
		t.Fatalf("%+v %v", r, err)
	}
	to, err := postgres.OpenTarget(t.Context(), postgres.Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	facts, err := to.Facts(t.Context())
	to.Close()
	at, _ := strconv.ParseInt(string(facts["pruning"]), 10, 64)
	if off := at - 1700000000000000 - by.Microseconds(); err != nil || max(off, -off) > time.Second.Microseconds() {
		t.Errorf("ages are counted from %q, %v off: %v", facts["pruning"], time.Duration(off)*time.Microsecond, err)
	}
	was := f.opened(t)(f.openSource(t.Context(), f.image(t)))
	g := f.own()
	g.clock.advance(by)
	is := g.opened(t)(g.openTarget(t.Context(), address))
	a, b := picture(t, was), picture(t, is)
	for i, d := range a.Due {
		if got := b.Due[i].At; !got.Equal(d.At.Add(by)) {
			t.Errorf("due at %v, was %v", got, d.At)
		}
	}
	for i := range a.Free {
		if a.Free[i] != b.Free[i] || !a.Back[i].IsZero() && !b.Back[i].Equal(a.Back[i].Add(by)) {
			t.Errorf("permits: %d back at %v, were %d at %v", b.Free[i], b.Back[i], a.Free[i], a.Back[i])
		}
	}
	for i, e := range a.Audit {
		if !b.Audit[i+1].At.Equal(e.At) {
			t.Errorf("the audit's entry is of %v, was of %v", b.Audit[i+1].At, e.At)
		}
	}
}

// Where it is not known what was sent last, every ledger waits.
func doubt(t *testing.T, f *filled, database func(*testing.T) string) {
	path, address := f.image(t), database(t)
	doubtful := sides{source: func(s move.Source) move.Source { return doubting{s} }}
	// Once said it holds, also for runs that see nothing.
	if _, err := f.run(t.Context(), path, address, sides{
		source: doubtful.source, target: func(to move.Target) move.Target { return failing{to} },
	}, nil); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	if r, err := f.run(t.Context(), path, address, sides{}, nil); err != nil || !r.Resumed {
		t.Fatalf("%+v %v", r, err)
	}
	j := f.opened(t)(f.openTarget(t.Context(), address))
	p := ledgers()[0]
	n, at, err := j.AvailablePermits(t.Context(), p)
	if want := f.clock.now().Add(p.Slack + p.Window); err != nil || n != 0 || !at.Equal(want) {
		t.Fatalf("%d permits, next at %v, want none before %v: %v", n, at, want, err)
	}
	// A file that was moved by other means says so by itself.
	s, err := sqlite.OpenSource(t.Context(), sqlite.Options{Path: f.image(t), Mark: func(string) string { return "elsewhere" }})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Marks().Doubt {
		t.Error("a file that is not where it was is not in doubt")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

type doubting struct{ move.Source }

func (d doubting) Marks() move.Marks {
	m := d.Source.Marks()
	m.Doubt = true
	return m
}

// A failing target dies after what follows from the rows was written.
type failing struct{ move.Target }

func (x failing) Settle(ctx context.Context, facts map[string][]byte) error {
	return errors.Join(x.Target.Settle(ctx, facts), errKilled)
}
