package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// roomFactor is how many operations may be in flight for each call in flight:
// while one call runs, others are being made durable.
const roomFactor = 3

// drainGrace is how long the journal may take, after the last call was cut, for
// all that is not a receipt.
const drainGrace = 5 * time.Second

// A Pool claims due operations and carries them out. See the package's
// documentation for what it promises.
type Pool struct {
	cfg      Config
	journal  Journal
	log      *slog.Logger
	metrics  *Metrics
	steps    stepping
	outage   outage
	out      onboarding.Publisher
	accounts map[string]*account
	order    []*account
	room     shares // of operations in flight

	wake     chan struct{} // the dispatcher has a reason to look again
	breakers *breaker.Group
	hungry   atomic.Bool // the dispatcher left work behind for want of room
	tasks    sync.WaitGroup
	running  atomic.Bool

	// The dispatcher's own.
	first     int             // whose turn it is to be looked at first
	strangers map[string]bool // accounts with work that are not configured

	mu       sync.Mutex
	inFlight int // beyond what accounts have of their own
	unsent   int // claimed, not yet sent, of all accounts
}

// account is one partner account inside the pool.
type account struct {
	Account
	ledger journal.Permit
	calls  places // calls in flight
	ahead  places // attempts from BeginAttempt to the end of their call: half as many again as calls
	gate   *breaker.Breaker

	reviewWake chan struct{} // a review has begun

	// The account's own of the metrics.
	holding, calling prometheus.Gauge

	// Under the pool's mu.
	inFlight   int
	unsent     int
	activating int // claimed to send their code, until their work ends

	// The dispatcher's own.
	due       map[work]time.Time
	turn      int          // activations claimed since the last invitation, while both waited
	owed      atomic.Int64 // to the turn: invitations that were claimed and found no permit
	checking  atomic.Bool
	heldSince time.Time // since then the slow start holds activations back

	// For the worker's report.
	busy   atomic.Bool // all places for calls are taken
	permit atomic.Pointer[nextPermit]
}

// A nextPermit is when a ledger that is used up has its next permit.
type nextPermit struct {
	ledger string
	at     time.Time
}

// work is what can be claimed in one request.
type work struct {
	kind  journal.Kind
	stage journal.Stage
}

// scope is how long the parts of a run may go on.
type scope struct {
	run   context.Context // ended: stop claiming, sending and calling
	calls context.Context // ended: calls in flight are cut
	work  context.Context // ended: the journal is not waited for any more, but for receipts
}

func (s scope) draining() bool { return s.run.Err() != nil }

// New checks the configuration and makes a pool. All that is wrong is told in
// one error.
func New(c Config) (*Pool, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	p := &Pool{
		cfg: c, journal: c.Journal, log: c.Logger, metrics: c.Metrics, steps: concurrently{}, outage: outage{log: c.Logger},
		out:       onboarding.NewPublisher(c.Source, c.Format),
		accounts:  make(map[string]*account, len(c.Accounts)),
		wake:      make(chan struct{}, 1),
		strangers: make(map[string]bool),
	}
	n := len(c.Accounts)
	calls := divide(c.Concurrency, n)
	ahead := divide(c.Concurrency+max(n, c.Concurrency/2), n)
	p.room = shares{own: calls.own * roomFactor, shared: calls.shared * roomFactor}
	sharedCalls, sharedAhead := newCommons(calls.shared), newCommons(ahead.shared)
	var breakers []*breaker.Breaker
	for _, a := range c.Accounts {
		acc := &account{
			Account: a, ledger: c.ledger(a), due: make(map[work]time.Time), gate: breaker.NewBreaker(c.breaker(a), journal.Gate{}, time.Now()),
			calls: newPlaces(calls.own, sharedCalls),
			ahead: newPlaces(ahead.own, sharedAhead), reviewWake: make(chan struct{}, 1),
		}
		acc.holding, acc.calling = c.Metrics.inFlight.WithLabelValues(a.Name), c.Metrics.calling.WithLabelValues(a.Name)
		p.accounts[a.Name] = acc
		p.order, breakers = append(p.order, acc), append(breakers, acc.gate)
	}
	p.breakers = breaker.NewGroup(c.Journal, p, c.Logger, breakers)
	return p, nil
}

// TokenChanged says that the account's own token may be another now: an account
// that is paused for it is checked at once, and one that is paused for its
// rights or request may try once. It never blocks.
func (p *Pool) TokenChanged(name string) {
	acc, ok := p.accounts[name]
	if !ok {
		return
	}
	now := time.Now()
	acc.gate.RequestCheck(now)
	if acc.gate.Record(breaker.SignalSettingsChanged, 0, false, now) {
		p.gateChanged(acc)
	}
	p.signal()
}

// Run works until ctx ends, then drains: nothing more is claimed or sent, calls
// in flight are awaited for the drain time and then cut, and what came of them
// is written. It returns nil after a drain, and an error when the journal is
// closed or cannot be read at the start. Run may be called once.
func (p *Pool) Run(ctx context.Context) error {
	if p.running.Swap(true) {
		return errors.New("onboarding: the pool is running already")
	}
	switch err := p.adoptGates(ctx); {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("onboarding: read the accounts: %w", err)
	}

	calls, cutCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cutCalls()
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	writerDone := make(chan struct{})
	writerCtx, stopWriter := context.WithCancel(work)
	go func() { defer close(writerDone); p.writeGates(writerCtx) }()
	erasing, stopErasing := context.WithCancel(ctx)
	var eraser sync.WaitGroup
	eraser.Go(func() { p.eraseReceipts(erasing) })
	defer eraser.Wait()
	defer stopErasing()

	// Tasks stop sending when the dispatcher stops, also when it is the journal
	// that ended and not ctx.
	run, stop := context.WithCancel(ctx)
	s := scope{run: run, calls: calls, work: work}
	p.tasks.Go(func() { p.performIntents(s) })
	for _, acc := range p.order {
		p.tasks.Go(func() { p.reviews(s, acc) })
	}
	err := p.dispatch(s)
	stop()
	p.drain(cutCalls, giveUp)
	stopWriter()
	<-writerDone
	p.breakers.Flush(work)
	return err
}

// adoptGates takes over the gates as the journal has them, at the start, and what the
// checks of the accounts' tokens before the start say.
func (p *Pool) adoptGates(ctx context.Context) error {
	if err := p.breakers.Load(ctx); err != nil {
		return err
	}
	now := time.Now()
	for _, acc := range p.order {
		if x := acc.FirstCheck; x != nil {
			v := invoicebox.Classify(*x)
			acc.gate.RecordFault(breaker.CheckSignalOf(v), v.Reason)
			if acc.gate.Record(breaker.CheckSignalOf(v), p.told(acc, v), false, now) {
				p.gateChanged(acc)
			}
		}
	}
	return nil
}

// drain waits for what is in flight.
func (p *Pool) drain(cutCalls, giveUp context.CancelFunc) {
	done := make(chan struct{})
	go func() { p.tasks.Wait(); close(done) }()
	for _, step := range []struct {
		after time.Duration
		then  func()
	}{
		{p.cfg.DrainTime, func() {
			p.log.Warn("the drain time is over: the calls in flight are cut")
			cutCalls()
		}},
		{drainGrace, func() {
			p.log.Error("the journal does not answer: only received answers are still being written")
			giveUp()
		}},
	} {
		timer := time.NewTimer(step.after)
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C:
			step.then()
		}
	}
	<-done
}

// signal wakes the dispatcher.
func (p *Pool) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// A task is an operation in flight.
type task struct {
	journal.ClaimedOperation
	acc      *account
	leaseEnd time.Time // never later than the journal's, by the monotonic clock
	trial    bool
	unsent   bool // counted as such
	code     bool // counted among the account's activating
	attempt  journal.AttemptID
	check    *shopCheck // that began with the save of the response
	macs     [][]byte   // of the address or code, once it is open
}

// probing tells whether a request of the task's is one to learn of an unknown
// outcome: the code may be spent, the e-mail sent.
func (t *task) probing() bool { return t.Unknowns > 0 }

// begin counts a task in; the caller holds p.mu.
func (p *Pool) begin(t *task) {
	t.acc.inFlight++
	if t.acc.inFlight > p.room.own {
		p.inFlight++
	}
	if t.unsent {
		t.acc.unsent++
		p.unsent++
		if t.code = t.Kind == journal.Activate; t.code {
			t.acc.activating++
		}
	}
	p.tasks.Add(1)
	t.acc.holding.Set(float64(t.acc.inFlight))
}

// sentOrEnded says that a claim no longer stands for a permit to come.
func (p *Pool) sentOrEnded(t *task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.unsent {
		t.unsent = false
		t.acc.unsent--
		p.unsent--
	}
}

func (p *Pool) end(t *task) {
	p.sentOrEnded(t)
	if t.trial {
		t.acc.gate.EndTrial()
	}
	p.mu.Lock()
	if t.acc.inFlight > p.room.own {
		p.inFlight--
	}
	t.acc.inFlight--
	if t.code {
		t.acc.activating--
	}
	t.acc.holding.Set(float64(t.acc.inFlight))
	p.mu.Unlock()
	if t.trial || p.hungry.Load() {
		p.signal()
	}
	p.tasks.Done()
}

// freeRoom is how many more operations of the account may be in flight; the
// caller holds p.mu.
func (p *Pool) freeRoom(acc *account) int {
	return max(0, p.room.own-acc.inFlight) + max(0, p.room.shared-p.inFlight)
}

// later runs a small write beside the task, awaited by the drain.
func (p *Pool) later(f func()) {
	p.tasks.Add(1)
	p.steps.start(func() {
		defer p.tasks.Done()
		f()
	})
}
