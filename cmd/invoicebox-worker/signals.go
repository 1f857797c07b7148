package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// drainSignals make the program drain and exit. A closed terminal, a log rotation or a
// reload sends SIGHUP, some container runtimes send SIGQUIT, a watchdog sends SIGABRT: none
// of them may interrupt a call.
func drainSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGQUIT, syscall.SIGABRT}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// watchSignals calls stop at the first signal and end at the second SIGTERM or SIGINT. The
// second one is a crash for the calls in flight: the journal has their attempts.
func watchSignals(ctx context.Context, signals <-chan os.Signal, stop, end func()) {
	asked := 0
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			stop()
			if s == syscall.SIGTERM || s == os.Interrupt {
				asked++
			}
			if asked > 1 {
				end()
				return
			}
		}
	}
}

// within runs f, and returns after the given time even if f still waits for a reader.
func within(bound time.Duration, run func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		run()
	}()
	select {
	case <-done:
	case <-time.After(bound):
	}
}
