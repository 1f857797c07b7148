package app

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// A component runs until its context ends.
type component struct {
	name string
	run  func(context.Context) error
}

// supervise runs the parts until ctx ends or one of them fails. The consumer and the
// engine stop first. The relay continues until they have stopped, so that the results
// of the last calls are published. The first failure is returned.
func supervise(ctx context.Context, log *slog.Logger, state *health, intake, pool, relay component) error {
	work, workContext := errgroup.WithContext(ctx)
	relayContext, stopRelay := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRelay()
	relayEnded := make(chan error, 1)
	failed := make(chan struct{})
	go func() {
		err := runComponent(relayContext, log, relay.name, relay.run)
		relayEnded <- err
		if err != nil {
			close(failed)
		}
	}()
	// A relay that fails stops the other parts; one that was stopped does not.
	work.Go(func() error {
		select {
		case <-failed:
			err := <-relayEnded
			relayEnded <- nil
			return err
		case <-workContext.Done():
			return nil
		}
	})
	work.Go(func() error { return runComponent(workContext, log, intake.name, intake.run) })
	work.Go(func() error { return runComponent(workContext, log, pool.name, pool.run) })
	logged := make(chan struct{})
	context.AfterFunc(workContext, func() {
		defer close(logged)
		state.startDraining()
		log.Info("draining: no new calls; waiting for the calls in flight", "asked", ctx.Err() != nil)
	})
	err := work.Wait()
	<-logged
	stopRelay()
	if relayErr := <-relayEnded; err == nil {
		err = relayErr
	}
	if err == nil {
		log.Info("stopped: no call is in flight")
	}
	return err
}

// announceEvery is how often notifyReady polls: readiness has no channel.
const announceEvery = 20 * time.Millisecond

// notifyReady calls its function once, as soon as every part is ready at the same time, unless
// ctx ends before.
func notifyReady(ctx context.Context, tell func(), parts ...func() (bool, string)) {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		ready := ctx.Err() == nil
		for _, p := range parts {
			ok, _ := p()
			ready = ready && ok
		}
		if ready {
			tell()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
