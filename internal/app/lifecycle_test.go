package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// order notes what happened, in order.
type order struct {
	mu   sync.Mutex
	seen []string
}

func (o *order) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, what)
}

// until is a part that runs until it is told to stop and then takes a while.
func (o *order) until(name string, takes time.Duration) component {
	return component{name, func(ctx context.Context) error {
		<-ctx.Done()
		<-time.After(takes) // virtual
		o.note(name)
		return nil
	}}
}

func TestTheRelayStopsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var o order
		state := newHealth()
		state.started()
		go func() {
			<-time.After(time.Minute)
			cancel()
		}()
		err := supervise(ctx, quiet(), state, o.until("consumer", time.Second), o.until("pool", 5*time.Second), o.until("relay", time.Second))
		if err != nil || !slices.Equal(o.seen, []string{"consumer", "pool", "relay"}) {
			t.Errorf("%v, stopped in the order %q", err, o.seen)
		}
		if ready, text := state.report(t.Context()); ready || !strings.Contains(text, "draining") {
			t.Errorf("while draining: %v %q", ready, text)
		}
	})
}

// A component that fails, panics or ends by itself takes the others with it, and its
// name is in the error.
func TestAPartThatEnds(t *testing.T) {
	broken := errors.New("broken")
	ends := map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"fails":          {func(context.Context) error { return broken }, "broken"},
		"panics":         {func(context.Context) error { panic("s3cret") }, "panic: string"},
		"runtime error":  {func(context.Context) error { s := strings.Fields(" "); return errors.New(s[0]) }, "index out of range"},
		"just ends":      {func(context.Context) error { return nil }, "without being asked"},
		"claims to stop": {func(context.Context) error { return context.Canceled }, "canceled"},
	}
	for what, end := range ends {
		for _, name := range []string{"consumer", "pool", "relay"} {
			synctest.Test(t, func(t *testing.T) {
				var o order
				parts := map[string]component{}
				for _, n := range []string{"consumer", "pool", "relay"} {
					parts[n] = o.until(n, time.Second)
				}
				parts[name] = component{name, func(ctx context.Context) error {
					<-time.After(time.Minute)
					return end.run(ctx)
				}}
				var log bytes.Buffer
				err := supervise(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), newHealth(), parts["consumer"], parts["pool"], parts["relay"])
				if err == nil || !strings.HasPrefix(err.Error(), name+": ") || !strings.Contains(err.Error(), end.want) {
					t.Errorf("%s %s: %v", name, what, err)
				}
				if len(o.seen) != 2 {
					t.Errorf("%s %s: the others did not stop: %q", name, what, o.seen)
				}
				if strings.Contains(err.Error()+log.String(), "s3cret") {
					t.Errorf("%s %s: what was panicked with is told", name, what)
				}
			})
		}
	}
}

// A component whose error names it already is not named twice.
func TestAPartIsNamedOnce(t *testing.T) {
	for _, text := range []string{"consumer: no start", "no start"} {
		err := runComponent(t.Context(), quiet(), "consumer", func(context.Context) error { return errors.New(text) })
		if err == nil || err.Error() != "consumer: no start" {
			t.Errorf("%q became %v", text, err)
		}
	}
}

// Readiness is announced once all parts are ready together, once, and not at
// all when the service ends before.
func TestReadinessIsAnnouncedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began, told := time.Now(), []time.Duration{}
		from := func(d time.Duration) func() (bool, string) {
			return func() (bool, string) { return time.Since(began) >= d, "" }
		}
		tell := func() { told = append(told, time.Since(began)) }
		notifyReady(ctx, tell, from(time.Minute), from(time.Second))
		if len(told) != 1 || told[0] < time.Minute || told[0] > time.Minute+announceEvery {
			t.Errorf("told after %v", told)
		}
		go func() {
			<-time.After(time.Minute)
			cancel()
		}()
		notifyReady(ctx, tell, from(time.Hour))
		if len(told) != 1 {
			t.Errorf("told again, after %v", told)
		}
	})
}

func TestTeardownRunsBackwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o order
		down := &teardown{log: quiet()}
		wrong := errors.New("wrong")
		release := make(chan struct{})
		down.add("first", func() error { o.note("first"); return wrong })
		down.add("stuck", func() error { <-release; return nil })
		down.add("third", func() error { o.note("third"); return nil })
		began := time.Now()
		err := down.close()
		if !errors.Is(err, wrong) || !strings.Contains(err.Error(), "close stuck") || !strings.Contains(err.Error(), "close first: wrong") {
			t.Errorf("close: %v", err)
		}
		if !slices.Equal(o.seen, []string{"third", "first"}) {
			t.Errorf("closed in the order %q", o.seen)
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("it took %v", took)
		}
		close(release)
	})
}
