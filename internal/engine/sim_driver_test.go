package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
)

// A sim is one run of the simulation: everything that happens in it follows
// from its seed. It lives in a synctest bubble, so time is virtual. Of all
// goroutines only one runs at a time: procs stand still between their calls of
// journal, client, store and clock, and the driver says which goes on.
type sim struct {
	t     testing.TB
	rng   *rand.Rand
	began time.Time
	steps int
	trace simTrace

	procs    []*proc
	current  *proc
	yielded  chan *proc
	lastProc int
	idle     bool   // nobody could go on at the last step
	broken   string // the first thing that is wrong

	setup   simSetup
	path    string
	j       *sqlite.Journal
	workers []*simWorker
	lastGen int
	faults  simFaults
	box     *simInvoicebox
	keys    simKeys
	inputs  *simInputs
	topic   *simTopic
	model   *simModel
	counts  map[string]int // what happened how often

	destroyed    map[string]string         // tokens of destroyed secrets, by reference
	disconnected map[journal.ShopKey]int64 // the last version that was disconnected
}

// simTrace keeps the digest of all that happened, and its last lines.
type simTrace struct {
	sum   hash.Hash
	lines []string
}

const simTraceLines = 6000

func (s *sim) note(format string, args ...any) {
	who := "world"
	if s.current != nil {
		who = s.current.name
	}
	line := fmt.Sprintf("%5d %12s %-14s %s", s.steps, time.Since(s.began).Round(time.Microsecond), who, fmt.Sprintf(format, args...))
	_, _ = s.trace.sum.Write([]byte(line))
	if len(s.trace.lines) == simTraceLines {
		s.trace.lines = slices.Delete(s.trace.lines, 0, simTraceLines/2)
	}
	s.trace.lines = append(s.trace.lines, line)
}

func (s *sim) digest() string { return hex.EncodeToString(s.trace.sum.Sum(nil)) }

// wrong notes a broken promise. The run ends at the next step.
func (s *sim) wrong(format string, args ...any) {
	if s.broken == "" {
		s.broken = fmt.Sprintf(format, args...)
		s.note("BROKEN: %s", s.broken)
	}
}

// A proc is a goroutine that runs only when the driver says so.
type proc struct {
	id     int
	name   string
	w      *simWorker // nil: the world's
	task   bool       // started by the engine, awaited by a drain
	resume chan bool  // false: it is killed where it stands
	ready  func() bool
	until  time.Time // goes on then at the latest; zero: only when ready
	frozen time.Time
	done   bool

	attempt *simAttempt // the last one that it made durable
	came    *simRequest // it has the answer to an activation in its hands
}

// simKilled unwinds a proc that is killed.
type simKilled struct{}

func (s *sim) spawn(w *simWorker, name string, f func()) *proc {
	s.lastProc++
	p := &proc{id: s.lastProc, name: fmt.Sprintf("%s/%d", name, s.lastProc), w: w, resume: make(chan bool)}
	s.procs = append(s.procs, p)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				if _, killed := r.(simKilled); !killed {
					s.wrong("panic: %v\n%s", r, debug.Stack())
				}
			}
			p.done = true
			s.yielded <- p
		}()
		if !<-p.resume {
			return
		}
		f()
	}()
	return p
}

// run lets a proc go on until it stands still again.
func (s *sim) run(p *proc, on bool) {
	s.current = p
	p.resume <- on
	<-s.yielded
	s.current = nil
	if p.done {
		if on && p.came != nil && !p.came.attempt.receipt {
			s.wrong("the answer of request %d came to %s, which has ended without making it durable", p.came.id, p.name)
		}
		s.procs = slices.DeleteFunc(s.procs, func(q *proc) bool { return q == p })
	}
}

// block stops the proc at hand until it is ready, or until the given instant.
// Without either it can go on whenever the driver wants.
func (s *sim) block(until time.Time, ready func() bool) {
	p := s.current
	p.until, p.ready = until, ready
	s.yielded <- p
	if !<-p.resume {
		panic(simKilled{})
	}
	p.until, p.ready = time.Time{}, nil
}

// stall freezes the proc at hand for a while, as a process that is stopped, or
// a disk that hangs.
func (s *sim) stall(limit time.Duration) {
	d := s.within(limit)
	s.note("stalls for %v", d)
	s.counts["stall"]++
	s.block(time.Now().Add(d), func() bool { return false })
}

// pause is a point at which anything else may happen first.
func (s *sim) pause() { s.block(time.Time{}, nil) }

func (p *proc) runnable(now time.Time) bool {
	switch {
	case now.Before(p.frozen):
		return false
	case p.ready == nil && p.until.IsZero():
		return true
	case p.ready != nil && p.ready():
		return true
	}
	return !p.until.IsZero() && !now.Before(p.until)
}

// wake is when a proc can go on by time alone.
func (p *proc) wake(now time.Time) time.Time {
	if now.Before(p.frozen) {
		return p.frozen
	}
	return p.until
}

// kill ends procs where they stand, as the death of a process does.
func (s *sim) kill(which func(*proc) bool) {
	for _, p := range slices.Clone(s.procs) {
		if which(p) {
			s.run(p, false)
		}
	}
}

// pass lets time go by. Only timers of contexts run meanwhile.
func (s *sim) pass(d time.Duration) {
	time.Sleep(max(d, time.Nanosecond))
	synctest.Wait()
	s.box.advance(time.Now())
}

// step does one thing, drawn by the seed; false when only a later instant
// that nobody waits for is left.
func (s *sim) step() bool {
	s.steps++
	now := time.Now()
	s.box.advance(now)
	s.signal()
	if s.revive() {
		return true
	}
	var ready []*proc
	next := s.box.next()
	for _, p := range s.procs {
		if p.runnable(now) {
			ready = append(ready, p)
		} else if at := p.wake(now); !at.IsZero() {
			next = minTime(next, at)
		}
	}
	next = minTime(next, s.nextEvent())
	s.idle = len(ready) == 0
	switch {
	case s.faults.on && s.injectFault():
	case len(ready) == 0 && next.IsZero():
		return false
	case len(ready) == 0:
		s.pass(time.Until(next))
	case s.rng.IntN(40) == 0:
		// Whoever could go on is slow.
		s.pass(time.Duration(s.rng.Int64N(int64(50 * time.Millisecond))))
	default:
		s.run(ready[s.rng.IntN(len(ready))], true)
	}
	return true
}

// simScheduler is how a engine of the simulation does things.
type simScheduler struct {
	s *sim
	w *simWorker
}

func (x simScheduler) spawn(f func()) {
	x.s.spawn(x.w, fmt.Sprintf("w%d", x.w.generation), f).task = true
}

func (x simScheduler) parallel(n int, f func(int)) {
	for i := range n {
		f(i)
	}
}

func (x simScheduler) sleep(ctx context.Context, d time.Duration) bool {
	x.s.block(time.Now().Add(d), func() bool { return ctx.Err() != nil })
	return ctx.Err() == nil
}

func (x simScheduler) rand(n int64) int64 { return x.s.rng.Int64N(n) }

func (x simScheduler) acquire(p slots, by time.Time, stop <-chan struct{}) func() {
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	own := func() bool {
		select {
		case p.reserved <- struct{}{}:
			return true
		default:
			return false
		}
	}
	if own() {
		return p.releaseReserved
	}
	w := p.shared.acquire(p.held)
	granted := func() bool {
		select {
		case <-w.granted:
			return true
		default:
			return false
		}
	}
	for {
		switch {
		case granted():
			return p.releaseShared
		case own():
			p.shared.cancel(w)
			return p.releaseReserved
		case stopped() || !time.Now().Before(by):
			p.shared.cancel(w)
			return nil
		}
		x.s.block(by, func() bool { return len(p.reserved) < cap(p.reserved) || granted() || stopped() })
	}
}

func newSimTrace() simTrace { return simTrace{sum: sha256.New()} }
