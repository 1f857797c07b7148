package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"invoicebox-worker/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "crashworker:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}

// run is the program: one argument, the file with the settings.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) != 1 {
		return errors.New("want one argument, the file with the settings")
	}
	s, err := readSettings(args[0])
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	o, err := s.options(log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := newPark(s.Watch, s.Shared, stdout)
	go func() {
		for lines := bufio.NewScanner(stdin); lines.Scan(); {
			switch lines.Text() {
			case "go":
				p.release()
			case "begin":
				p.begin()
			}
		}
		stop()
	}()
	o.Hooks.Journal, o.Hooks.Proven = s.Point.between(p), true
	return app.Run(ctx, o)
}
