package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, drainSignals()...)
	go watchSignals(context.Background(), signals, stop, func() {
		within(time.Second, func() { _, _ = io.WriteString(os.Stderr, "invoicebox-worker: second signal: ending at once\n") })
		os.Exit(exitFailed)
	})
	env := environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), surviveOutputs: surviveOutputs}
	code := run(ctx, os.Args[1:], env)
	// Some file systems report only here that the disk is full.
	if err := os.Stdout.Close(); err != nil && !errors.Is(err, syscall.EBADF) && code == exitDone {
		code = fail(env, exitFailed, &outputError{err})
	}
	os.Exit(code)
}
