package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		stop()
		<-signals
		// What is in flight now is what a crash leaves behind; the journal knows it.
		_, _ = io.WriteString(os.Stderr, "invoicebox-worker: second signal: ending at once\n")
		os.Exit(exitFailed)
	}()
	code := run(ctx, os.Args[1:], environment{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
	})
	os.Exit(code) //nolint:gocritic // the deferred stop has nothing left to do
}
