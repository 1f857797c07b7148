package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/backoff"
)

func TestExponential(t *testing.T) {
	e := backoff.Exponential{Min: 100 * time.Millisecond, Max: 350 * time.Millisecond}
	for _, want := range []int64{100, 200, 350, 350} {
		if got := e.Next().Milliseconds(); got != want {
			t.Errorf("%d ms, want %d", got, want)
		}
	}
	if e.Reset(); e.Next() != 100*time.Millisecond {
		t.Error("no new beginning")
	}
}

func TestElapsed(t *testing.T) {
	t.Run("AFrozenAttemptCountsForItsLimit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := backoff.NewElapsed(15 * time.Second)
			for _, attempt := range []struct{ took, total time.Duration }{
				{2 * time.Second, 2 * time.Second},
				{time.Hour, 17 * time.Second},
				{250 * time.Millisecond, 17250 * time.Millisecond},
				{15 * time.Second, 32250 * time.Millisecond},
			} {
				<-time.After(attempt.took)
				if got := e.Failed(); got != attempt.total {
					t.Errorf("after an attempt of %v: %v, want %v", attempt.took, got, attempt.total)
				}
			}
		})
	})
}

func TestRetry(t *testing.T) {
	errBusy, errDenied := errors.New("busy"), errors.New("denied")
	final := func(err error) bool { return errors.Is(err, errDenied) }
	for name, x := range map[string]struct {
		results []error // of the calls; the last is repeated
		want    error
		calls   int
		took    time.Duration
	}{
		"Succeeds":               {[]error{errBusy, errBusy, nil}, nil, 3, 2 * time.Second},
		"EndsAtAFinalError":      {[]error{errBusy, errDenied}, errDenied, 2, time.Second},
		"EndsWithItsContext":     {[]error{errBusy}, errBusy, 10, 9500 * time.Millisecond},
		"HidesTheCutShortsError": {[]error{errBusy, context.DeadlineExceeded}, errBusy, 2, 9500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
				defer cancel()
				began, calls := time.Now(), 0
				err := backoff.Retry(ctx, time.Second, final, func() error {
					err := x.results[min(calls, len(x.results)-1)]
					calls++
					if errors.Is(err, context.DeadlineExceeded) {
						<-ctx.Done()
					}
					return err
				})
				if !errors.Is(err, x.want) || calls != x.calls || time.Since(began) != x.took {
					t.Errorf("%v after %d calls and %v, want %v after %d and %v", err, calls, time.Since(began), x.want, x.calls, x.took)
				}
			})
		})
	}
}
