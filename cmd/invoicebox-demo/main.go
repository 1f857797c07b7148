package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"invoicebox-worker/invoicebox/sandbox"
)

type flags struct {
	Shops   int    `default:"40" help:"How many shops take part, 10 to 500 (${default}, about 20 s; each further one adds about 0.4 s)."`
	Profile string `default:"calm" enum:"calm,realistic,hostile" help:"How the sandbox behaves beyond the stories: calm, realistic or hostile (${default})."`
	Seed    uint64 `help:"Replays pace and faults; drawn and printed when it is not given."`
	Plain   bool   `help:"No live view, a line for everything that happens; automatic where the output is no terminal."`
	Keep    bool   `help:"Stay up when the stories have ended, with everything running, until Ctrl-C."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. It returns the exit status: 0 when every shop reached its
// end, 1 when not, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var f flags
	status := -1
	parser, err := kong.New(&f, kong.Name("invoicebox-demo"),
		kong.Description("The whole service at work in one process: an embedded Kafka broker, a sandbox of Invoicebox, the worker, and shops with different fates. It needs nothing and ends by itself."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { status = code }))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "invoicebox-demo:", err)
		return 1
	}
	_, err = parser.Parse(args)
	switch {
	case status >= 0:
		return status // --help
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "invoicebox-demo:", err)
		return 2
	case f.Shops < len(fates) || f.Shops > 500:
		_, _ = fmt.Fprintf(stderr, "invoicebox-demo: --shops is %d: from %d (one of each story) to 500 are possible\n", f.Shops, len(fates))
		return 2
	}
	if f.Seed == 0 {
		f.Seed = rand.Uint64N(1_000_000) + 1 // #nosec G404 -- a show
	}
	if err := perform(ctx, f, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "invoicebox-demo:", err)
		return 1
	}
	return 0
}

// patience bounds the show: each shop costs calls, and calls cost permits.
func patience(shops int) time.Duration {
	return 50*time.Second + time.Duration(shops-40)*3*window/limit
}

var errEnds = errors.New("not every shop reached the end of its story")

// perform builds the stage, plays until every story has ended, and says how.
func perform(ctx context.Context, f flags, stdout io.Writer) (err error) {
	began := time.Now()
	s, err := build(sandbox.Profile(f.Profile), f.Seed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := newBoard(cast(f.Shops))
	look := func() { b.watch(s.sandbox.Requests()) }
	p := newPlatform(b, look, s.broker.ListenAddrs()[0], f.Seed, 200*time.Millisecond)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	shown, quit := context.WithCancel(ctx) // ends when the curtain falls
	defer quit()
	g.Go(func() error { return s.run(ctx) })
	g.Go(func() error {
		select {
		case <-s.ready:
			return p.run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		defer quit()
		return b.attend(ctx, look, patience(f.Shops))
	})
	show := plainShow
	if !f.Plain && isTerminal(stdout) {
		show = liveShow
	}
	interrupted, viewErr := show(shown, stdout, b, s, f)
	quit()
	if viewErr == nil && !interrupted && ctx.Err() == nil {
		finale(ctx, stdout, b, s, f, time.Since(began))
		if f.Keep {
			stay(ctx, stdout, s)
		}
	}
	cancel()
	err = errors.Join(viewErr, g.Wait())
	if err == nil && !b.allGood() {
		err = errEnds
	}
	return err
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// attend keeps the board up to date until every story has ended, or patience has.
func (b *board) attend(ctx context.Context, look func(), patience time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-late.C:
			return nil // the finale tells who did not arrive
		case <-tick.C:
			look()
			if b.done() {
				look()
				return nil
			}
		}
	}
}

func (b *board) allGood() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.shops {
		if !s.good() {
			return false
		}
	}
	return b.deadLetters == 1
}
