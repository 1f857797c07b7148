package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// drainSignals end the program in order. A closed terminal, a log rotation or a
// reload sends SIGHUP, some container runtimes SIGQUIT, a watchdog SIGABRT: none
// of them may cut a call.
func drainSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGQUIT, syscall.SIGABRT}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// watchSignals calls stop at the first signal and end at the second SIGTERM or
// SIGINT. What is in flight then is what a crash leaves behind; the journal
// knows it.
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

// within runs what may wait for a reader, at most for a bound.
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
