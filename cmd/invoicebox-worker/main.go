package main

import (
	"context"
	"io"
	"os"
	"os/signal"
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
	os.Exit(run(ctx, os.Args[1:], environment{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), surviveOutputs: surviveOutputs,
	}))
}
