package move_test

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
)

var errKilled = errors.New("killed")

// A fuse burns down with every step of a move, before and after its effect.
type fuse struct{ left int }

func (x *fuse) burn() error {
	if x.left--; x.left < 0 {
		return errKilled
	}
	return nil
}

func (x *fuse) around(f func() error) error {
	return errors.Join(x.burn(), func() error {
		if x.left < 0 {
			return nil
		}
		return errors.Join(f(), x.burn())
	}())
}

type mortalSource struct {
	move.Source
	*fuse
}

func (s mortalSource) Begin(ctx context.Context, id uuid.UUID) error {
	return s.around(func() error { return s.Source.Begin(ctx, id) })
}

func (s mortalSource) Rows(ctx context.Context, t move.Table, after move.Row) iter.Seq2[move.Row, error] {
	return func(yield func(move.Row, error) bool) {
		for r, err := range s.Source.Rows(ctx, t, after) {
			if burnt := s.burn(); burnt != nil {
				yield(nil, burnt)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (s mortalSource) Leave(ctx context.Context, m move.MovedMark, audit journal.AuditEntry) error {
	return s.around(func() error { return s.Source.Leave(ctx, m, audit) })
}

type mortalTarget struct {
	move.Target
	*fuse
}

func (t mortalTarget) Begin(ctx context.Context, s move.State) error {
	return t.around(func() error { return t.Target.Begin(ctx, s) })
}

func (t mortalTarget) Append(ctx context.Context, table move.Table, next func() (move.Row, error)) error {
	return t.around(func() error { return t.Target.Append(ctx, table, next) })
}

func (t mortalTarget) Settle(ctx context.Context, facts map[string][]byte) error {
	return t.around(func() error { return t.Target.Settle(ctx, facts) })
}

func (t mortalTarget) Finish(ctx context.Context, audit journal.AuditEntry) error {
	return t.around(func() error { return t.Target.Finish(ctx, audit) })
}

// dying gives sides that end after so many steps.
func dying(steps int) sides {
	x := &fuse{left: steps}
	return sides{
		source: func(s move.Source) move.Source { return mortalSource{s, x} },
		target: func(t move.Target) move.Target { return mortalTarget{t, x} },
	}
}

// A move that dies at every possible step at its two ends, and at random ones
// between, goes on, and at no moment both journals can be run.
func deaths(t *testing.T, f *filled, database func(*testing.T) string) {
	path, address := f.image(t), database(t)
	random := rand.New(rand.NewPCG(9, 9))
	died, resumed := 0, 0
	// How far the runs come grows, so that all of it is passed.
	for steps := 0; ; steps++ {
		if steps > 12 {
			steps += random.IntN(150)
		}
		r, err := f.run(t.Context(), path, address, dying(steps), nil)
		if r.Resumed {
			resumed++
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) && !errors.Is(err, journal.ErrMoved) {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		died++
		source, target := f.usable(t, path, address)
		if source && target {
			t.Fatalf("after %d steps both can be run", steps)
		}
		if errors.Is(err, journal.ErrMoved) {
			// It died after its last step had its effect.
			if !target {
				t.Fatalf("moved, and the target cannot be run")
			}
			break
		}
	}
	if died < 18 || resumed < 8 {
		t.Fatalf("%d deaths, %d resumed: too few to show anything", died, resumed)
	}
	was := f.opened(t)(f.openSource(t.Context(), f.image(t)))
	is := f.opened(t)(f.openTarget(t.Context(), address))
	same(t, was, is, 1)
}

// The last steps die one by one: all rows are there, so each run comes to them.
func deathsAtTheEnd(t *testing.T, f *filled, database func(*testing.T) string) {
	// How many steps a whole move has.
	x := &fuse{left: 1 << 30}
	counted := sides{
		source: func(s move.Source) move.Source { return mortalSource{s, x} },
		target: func(t move.Target) move.Target { return mortalTarget{t, x} },
	}
	if _, err := f.run(t.Context(), f.image(t), database(t), counted, nil); err != nil {
		t.Fatal(err)
	}
	all := 1<<30 - x.left
	for _, x := range []struct {
		name           string
		back           int // steps before the end
		source, target bool
	}{
		{"before the source is left", 4, true, false}, {"after the source was left", 3, false, false},
		{"before the target is made usable", 2, false, false}, {"after it was", 1, false, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			path, address := f.image(t), database(t)
			if _, err := f.run(t.Context(), path, address, dying(all-x.back), nil); !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if source, target := f.usable(t, path, address); source != x.source || target != x.target {
				t.Fatalf("source can be run: %v; target: %v", source, target)
			}
			r, err := f.run(t.Context(), path, address, sides{}, nil)
			if x.target != errors.Is(err, journal.ErrMoved) || !x.target && (err != nil || !r.Resumed) {
				t.Fatalf("run again: %+v %v", r, err)
			}
			f.opened(t)(f.openTarget(t.Context(), address))
		})
	}
}

// usable tells which side a worker could be started with, without starting one:
// that would change what is being looked at.
func (f *filled) usable(t *testing.T, path, address string) (source, target bool) {
	t.Helper()
	moved := 0
	db := lite(t, path)
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM meta WHERE name = 'moved_to'").Scan(&moved); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return moved == 0, f.holdsJournal(t, address)
}

// A worker that runs with the source after a move was cut short makes what was
// copied out of date: the next run sees it and begins again.
func sourceWentOn(t *testing.T, f *filled, database func(*testing.T) string) {
	path, address := f.image(t), database(t)
	if _, err := f.run(t.Context(), path, address, dying(700), nil); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	j, err := f.openSource(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	f.clock.advance(10 * time.Minute)
	f.goOn(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	after := f.duplicate(t, path)
	r, err := f.run(t.Context(), path, address, sides{}, nil)
	if err != nil || !r.Restarted || r.Resumed {
		t.Fatalf("%+v %v", r, err)
	}
	same(t, f.opened(t)(f.openSource(t.Context(), after)), f.opened(t)(f.openTarget(t.Context(), address)), 1)
}
