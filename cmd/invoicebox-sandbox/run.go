package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/connlimit"
	"invoicebox-worker/invoicebox/sandbox"
)

// Exit statuses.
const (
	exitDone  = 0
	exitError = 1 // also for a setting with a wrong value
	exitUsage = 2 // unknown flags and arguments
)

// patience is how long requests under way may take once the end has been asked
// for: they are cut then, as a crash would.
const patience = time.Second

// run is the whole program. It returns the exit status when ctx ends or
// something fails.
func run(ctx context.Context, args []string, environ []string, stdout, stderr io.Writer) int {
	f, status, done := parse(args, environ, stdout, stderr)
	if done {
		return status
	}
	options, err := f.options(slog.New(f.handler(stderr)))
	if err != nil {
		fmt.Fprintln(stderr, "invoicebox-sandbox:", err)
		return exitError
	}
	sb, err := sandbox.New(options)
	if err != nil {
		fmt.Fprintln(stderr, "invoicebox-sandbox:", err)
		return exitError
	}
	if err := serve(ctx, f, sb, stdout); err != nil {
		fmt.Fprintln(stderr, "invoicebox-sandbox:", err)
		return exitError
	}
	return exitDone
}

// parse reads flags, environment and file. done says that the program is over,
// with the status: help was asked for, or the usage was wrong.
func parse(args []string, environ []string, stdout, stderr io.Writer) (f flags, status int, done bool) {
	exited := -1
	settings := config.Program{Prefix: config.SandboxPrefix}
	parser, err := kong.New(&f,
		kong.Name("invoicebox-sandbox"),
		kong.Description(description),
		kong.Help(help),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		settings.Mapper(),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 120}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "invoicebox-sandbox:", err)
		return f, exitError, true
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 { // --help was printed
		return f, exitDone, true
	}
	var given config.Given
	if err == nil {
		given, err = settings.Load(kctx, parser.Model.Flags[1:], environ) // without --help
	}
	if _, ok := errors.AsType[*config.Error](err); ok {
		fmt.Fprintln(stderr, "invoicebox-sandbox:", err)
		return f, exitError, true
	}
	if err != nil {
		fmt.Fprintf(stderr, "invoicebox-sandbox: %v\nSee invoicebox-sandbox --help.\n", err)
		return f, exitUsage, true
	}
	for _, near := range given.NearMisses {
		fmt.Fprintf(stderr, "invoicebox-sandbox: warning: %s\n", near)
	}
	return f, exitDone, false
}

// serve listens, says where, and serves until ctx ends.
func serve(ctx context.Context, f flags, sb *sandbox.Sandbox, stdout io.Writer) error {
	if f.TLSCertFile != "" {
		if _, err := tls.LoadX509KeyPair(f.TLSCertFile, f.TLSKeyFile); err != nil {
			return fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
		}
	}
	var listen net.ListenConfig
	api, err := listen.Listen(ctx, "tcp", f.Listen)
	if err != nil {
		return fmt.Errorf("--listen %q: %w", f.Listen, err)
	}
	admin, err := listen.Listen(ctx, "tcp", f.AdminListen)
	if err != nil {
		_ = api.Close()
		return fmt.Errorf("--admin-listen %q: %w", f.AdminListen, err)
	}
	// Ends the waits of requests under way before the servers are stopped.
	requests, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	servers := []*http.Server{server(requests, sb.API()), server(requests, sb.Admin())}
	ended := make(chan error, len(servers))
	go func() {
		if f.TLSCertFile != "" {
			ended <- connlimit.ServeTLS(servers[0], api, apiBounds(), f.TLSCertFile, f.TLSKeyFile)
			return
		}
		ended <- connlimit.Serve(servers[0], api, apiBounds())
	}()
	go func() { ended <- connlimit.Serve(servers[1], admin, adminBounds()) }()
	greet(stdout, f, sb, api.Addr().String(), admin.Addr().String())

	running := len(servers)
	select {
	case <-ctx.Done():
	case err = <-ended:
		running--
	}
	stop()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(end) != nil {
			_ = s.Close()
		}
	}
	for range running {
		if failed := <-ended; !errors.Is(failed, http.ErrServerClosed) {
			err = errors.Join(err, failed)
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// A worker may have 4,096 calls in flight.
func apiBounds() connlimit.Bounds   { return connlimit.Bounds{Total: 5000, PerAddress: 4500} }
func adminBounds() connlimit.Bounds { return connlimit.Bounds{Total: 128, PerAddress: 64} }

// server speaks HTTP/1.1 only: cuts are made to connections, not to streams.
func server(ctx context.Context, h http.Handler) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Protocols:         new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	return s
}

// newSeed draws a seed of six decimal digits or so, short enough to be typed again.
func newSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return 1 + binary.BigEndian.Uint64(b[:])%999_999
}
