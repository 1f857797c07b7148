package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// teardown closes what was opened, in reverse order. Every step has a name and runs
// also if others failed.
type teardown struct {
	log   *slog.Logger
	steps []step
}

type step struct {
	name string
	run  func() error
}

func (t *teardown) add(name string, run func() error) { t.steps = append(t.steps, step{name, run}) }

// close runs the steps and joins their errors. It abandons a step that does not end
// within teardownWithin, so that the process can exit; the next steps still run.
func (t *teardown) close() error {
	deadline := time.Now().Add(teardownWithin)
	var errs []error
	for _, s := range slices.Backward(t.steps) {
		done := make(chan error, 1)
		go func() { done <- s.run() }()
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("close %s: %w", s.name, err))
			}
		case <-time.After(max(time.Until(deadline), time.Second)):
			errs = append(errs, fmt.Errorf("close %s: it did not end in time", s.name))
		}
		t.log.Debug("closed", "component", s.name)
	}
	return errors.Join(errs...)
}

// errUnasked is the error of a part that ends unexpectedly.
var errUnasked = errors.New("it ended without being asked to")

// runComponent runs a part. A panic or an unexpected end becomes an error that names
// the part.
func runComponent(ctx context.Context, log *slog.Logger, name string, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// The value of a panic may contain a secret, so only its type is logged,
			// except for the runtime's own errors.
			what := fmt.Sprintf("%T", p)
			if r, ok := p.(runtime.Error); ok {
				what = r.Error()
			}
			log.Error("component panicked", "component", name, "panic", what, "stack", string(debug.Stack()))
			err = fmt.Errorf("%s: panic: %s", name, what)
		}
	}()
	err = run(ctx)
	switch {
	case err == nil && ctx.Err() == nil:
		return fmt.Errorf("%s: %w", name, errUnasked)
	case err != nil && errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil
	case err != nil && strings.HasPrefix(err.Error(), name+": "):
		return err // it names itself
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
