package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"invoicebox-worker/invoicebox/sandbox"
)

type flags struct {
	Shops   int    `default:"40" help:"How many shops take part, 10 to 500 (${default}, about 30 s; each further one adds about 0.4 s)."`
	Profile string `default:"calm" enum:"calm,realistic,hostile" help:"How the sandbox behaves beyond the scenarios: calm, realistic or hostile (${default})."`
	Seed    uint64 `help:"Replays pace and faults; drawn and printed when it is not given."`
	Plain   bool   `help:"No live view, a line for everything that happens; automatic where the output is no terminal."`
	Keep    bool   `help:"Stay up when all shops have ended, with everything running, until Ctrl-C."`
}

// The exit statuses of a demo that somebody ended: by a signal, or by closing
// the pipe that it writes to.
const (
	statusInterrupted = 128 + 2
	statusBrokenPipe  = 128 + 13
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == workerArgument {
		os.Exit(workerProcess(os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A reader that leaves must not end the program before it has cleaned up.
	signal.Ignore(syscall.SIGPIPE)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. It returns the exit status: 0 when every shop reached its
// end or the user quit, 1 when not, 2 for wrong usage, 130 after a signal.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var f flags
	status := -1
	parser, err := kong.New(&f, kong.Name("invoicebox-demo"),
		kong.Description("The whole service at work: an embedded Kafka broker, a sandbox of Invoicebox, the worker as a process of its own, and shops with different scenarios. It needs nothing else and ends by itself."),
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
	case f.Shops < len(scenarios) || f.Shops > 500:
		_, _ = fmt.Fprintf(stderr, "invoicebox-demo: --shops is %d: from %d (one of each scenario) to 500 are possible\n", f.Shops, len(scenarios))
		return 2
	}
	if f.Seed == 0 {
		f.Seed = rand.Uint64N(1_000_000) + 1 // #nosec G404 -- a demo
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	out := &output{w: stdout, leave: leave}
	left, err := runDemo(ctx, f, out)
	switch {
	case out.broken.Load():
		return statusBrokenPipe
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "invoicebox-demo:", err)
		return 1
	case left == interrupted:
		return statusInterrupted
	}
	return 0
}

// An output ends the demo when nobody reads it any more.
type output struct {
	w      io.Writer
	leave  context.CancelCauseFunc
	broken atomic.Bool
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && !o.broken.Swap(true) {
		o.leave(err)
	}
	return n, err
}

// A departure reports whether the user ended the demo early.
type departure int

const (
	stayed departure = iota
	quit
	interrupted
)

// patience bounds the demo: each shop costs calls, and calls cost permits.
func patience(f flags) time.Duration {
	d := 80*time.Second + time.Duration(f.Shops-40)*3*window/limit
	if f.Profile == string(sandbox.Hostile) {
		d += time.Minute // the account backs off now and then, for longer each time
	}
	return d
}

var (
	errUnexpected = errors.New("not every shop ended as its scenario says")
	errGuarantees = errors.New("the worker broke a guarantee: a code was spent twice, an e-mail was sent twice without a cause, calls overlapped or the limit was exceeded")
)

// runDemo builds the environment, runs until every shop has ended, and prints the result.
func runDemo(ctx context.Context, f flags, stdout *output) (left departure, err error) {
	began := time.Now()
	s, err := build(sandbox.Profile(f.Profile), f.Seed)
	if err != nil {
		return stayed, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := newProgress(makeShops(f.Shops))
	look := func() { b.watch(s.sandbox.Requests()) }
	p := newPlatform(b, look, s.broker.ListenAddrs()[0], f.Seed, 200*time.Millisecond)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	shown, stopView := context.WithCancel(ctx) // ends with the view
	defer stopView()
	g.Go(func() error { return s.run(ctx, b) })
	g.Go(func() error {
		select {
		case <-s.ready:
			return p.run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		defer stopView()
		return b.follow(ctx, look, patience(f))
	})
	view := runPlain
	if !f.Plain && isTerminal(stdout.w) && os.Getenv("TERM") != "dumb" {
		view = runLive
	}
	left, viewErr := view(shown, stdout, b, s, f)
	stopView()
	held := true
	early := left != stayed || ctx.Err() != nil
	switch {
	case viewErr != nil:
	case early:
		if left == stayed {
			left = interrupted
		}
		b.summary(stdout, time.Since(began))
	default:
		held = printResult(ctx, stdout, b, s, f, time.Since(began))
		if f.Keep {
			stay(ctx, stdout, s)
		}
	}
	cancel()
	err = errors.Join(viewErr, g.Wait())
	switch {
	case err != nil || early:
	case !held:
		err = errGuarantees
	case !b.allGood(f):
		err = errUnexpected
	}
	return left, err
}

// summary prints what was seen of a demo that was ended early.
func (b *progress) summary(w io.Writer, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	over, fine := 0, 0
	for _, s := range b.shops {
		if s.step == ended {
			over++
			if s.good() {
				fine++
			}
		}
	}
	_, _ = fmt.Fprintf(w, "\nStopped after %.1f s: %d of %d shops had reached an end, %d of them as expected.\n", took.Seconds(), over, len(b.shops), fine)
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// widthOf is the width of a terminal; 80 elsewhere.
func widthOf(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// follow keeps progress up to date until every shop has ended, or patience has.
func (b *progress) follow(ctx context.Context, look func(), patience time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-late.C:
			return nil // the result names those that did not arrive
		case <-tick.C:
			look()
			if b.done() {
				look()
				return nil
			}
		}
	}
}

// excused says whether a shop may still be on its way when patience has ended:
// where the sandbox misbehaves by itself, the account backs off between trials.
func (b *progress) excused(s *shop, f flags) bool {
	return s.step != ended && f.Profile != string(sandbox.Calm)
}

func (b *progress) allGood(f flags) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.shops {
		if !s.good() && !b.excused(s, f) {
			return false
		}
	}
	return b.deadLetters == 1
}
