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

// inFlightPerCall is how many operations may be in flight for each call in flight:
// while one calls, the journal writes of others run.
const inFlightPerCall = 3

// drainGrace is how long the journal may take, after the last call was cancelled, for
// all writes except received responses.
const drainGrace = 5 * time.Second

// An Engine claims due operations and executes them. The package's documentation lists
// its guarantees.
type Engine struct {
	cfg       Config
	journal   Journal
	log       *slog.Logger
	metrics   *Metrics
	scheduler scheduler
	outage    journalOutage
	out       onboarding.Publisher
	accounts  map[string]*account
	order     []*account
	capacity  slotQuota // of operations in flight

	wake              chan struct{} // the dispatcher has a reason for another tick
	breakers          *breaker.Group
	capacityExhausted atomic.Bool // the dispatcher left work behind until an operation ends
	capacityLow       atomic.Bool // it left work behind until there is capacity for enough operations
	tasks             sync.WaitGroup
	running           atomic.Bool
	stepped           atomic.Pointer[time.Time] // when the dispatcher made its last step; nil while it does not run

	// The dispatcher's own.
	nextAccount     int             // the account that the next plan begins with
	unknownAccounts map[string]bool // accounts with work that are not configured

	mu           sync.Mutex
	inFlight     int // beyond the reserved slots of the accounts
	pendingSends int // claimed, not yet sent, of all accounts
}

// account is one partner account inside the engine.
type account struct {
	Account
	ledger       journal.Permit
	callSlots    slots // calls in flight
	attemptSlots slots // attempts from BeginAttempt to the end of their call: half as many again as calls
	breaker      *breaker.Breaker

	verificationWake chan struct{} // a review has begun

	// The account's own of the metrics.
	holding, calling prometheus.Gauge

	// Under the engine's mu.
	inFlight     int
	pendingSends int
	activating   int // claimed to send their code, until their work ends

	// The dispatcher's own.
	due                    map[work]time.Time
	activationsSinceInvite int          // activations claimed since the last invitation, while both waited
	missedInvitations      atomic.Int64 // invitations that were claimed and found no permit, counted towards their tenth
	checkingToken          atomic.Bool
	heldSince              time.Time // since when the slow start delays activations

	// For the worker's report.
	busy   atomic.Bool // all slots for calls are in use
	permit atomic.Pointer[nextPermit]
}

// A nextPermit is the time of the next permit of a used-up ledger.
type nextPermit struct {
	ledger string
	at     time.Time
}

// work is what can be claimed in one request.
type work struct {
	kind  journal.Kind
	stage journal.Stage
}

// phases bounds the parts of a run.
type phases struct {
	accept context.Context // ended: stop claiming, sending and calling
	calls  context.Context // ended: calls in flight are cancelled
	writes context.Context // ended: only received responses still wait for the journal
}

func (s phases) draining() bool { return s.accept.Err() != nil }

// New checks the configuration and makes an engine. One error contains all faults.
func New(c Config) (*Engine, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Tracer.Enabled() {
		c.Journal, c.Credentials = tracedJournal{c.Journal}, tracedStore{c.Credentials}
	}
	p := &Engine{
		cfg: c, journal: c.Journal, log: c.Logger, metrics: c.Metrics, scheduler: realScheduler{}, outage: journalOutage{log: c.Logger},
		out:             onboarding.NewPublisher(c.Source, c.Format),
		accounts:        make(map[string]*account, len(c.Accounts)),
		wake:            make(chan struct{}, 1),
		unknownAccounts: make(map[string]bool),
	}
	n := len(c.Accounts)
	calls := divide(c.Concurrency, n)
	ahead := divide(c.Concurrency+max(n, c.Concurrency/2), n)
	p.capacity = slotQuota{reserved: calls.reserved * inFlightPerCall, shared: calls.shared * inFlightPerCall}
	sharedCalls, sharedAhead := newSharedSlots(calls.shared), newSharedSlots(ahead.shared)
	var breakers []*breaker.Breaker
	for _, a := range c.Accounts {
		acc := &account{
			Account: a, ledger: c.ledger(a), due: make(map[work]time.Time), breaker: breaker.New(c.breaker(a), journal.Circuit{}, time.Now()),
			callSlots:    newSlots(calls.reserved, sharedCalls),
			attemptSlots: newSlots(ahead.reserved, sharedAhead), verificationWake: make(chan struct{}, 1),
		}
		acc.holding, acc.calling = c.Metrics.inFlight.WithLabelValues(a.Name), c.Metrics.calling.WithLabelValues(a.Name)
		p.accounts[a.Name] = acc
		p.order, breakers = append(p.order, acc), append(breakers, acc.breaker)
	}
	p.breakers = breaker.NewGroup(c.Journal, p, c.Logger, breakers)
	return p, nil
}

// TokenChanged reports that the account's own token may have changed. An account that
// is paused for its token is checked at once. One that is paused for its rights or
// request may make one trial. TokenChanged never blocks.
func (e *Engine) TokenChanged(name string) {
	acc, ok := e.accounts[name]
	if !ok {
		return
	}
	now := time.Now()
	acc.breaker.RequestCheck(now)
	if acc.breaker.Record(breaker.SignalSettingsChanged, 0, false, now) {
		e.breakerChanged(acc)
	}
	e.signal()
}

// Run works until ctx ends, then drains: nothing more is claimed or sent, calls in
// flight are awaited for the drain time and then cancelled, and their outcomes are
// written. It returns nil after a drain, and an error when the journal is closed or, at
// the start, cannot be read for a reason other than an outage. Run may be called once.
func (e *Engine) Run(ctx context.Context) error {
	if e.running.Swap(true) {
		return errors.New("engine: Run was called twice")
	}
	for failures := 0; ; failures++ {
		err := e.loadBreakers(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		if !journal.Waits(err) {
			return fmt.Errorf("engine: read the accounts: %w", err)
		}
		e.outage.failed(slog.LevelError, "cannot read the accounts; trying again", err)
		e.scheduler.sleep(ctx, onboarding.Exponential(errorBase, errorCap, failures))
	}

	calls, cutCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cutCalls()
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	writerDone := make(chan struct{})
	writerCtx, stopWriter := context.WithCancel(work)
	go func() { defer close(writerDone); e.writeBreakers(writerCtx) }()
	erasing, stopErasing := context.WithCancel(ctx)
	var eraser sync.WaitGroup
	eraser.Go(func() { e.dueShopWork(erasing) })
	defer eraser.Wait()
	defer stopErasing()

	// Tasks stop sending when the dispatcher stops, also if the journal was closed and
	// ctx has not ended.
	run, stop := context.WithCancel(ctx)
	s := phases{accept: run, calls: calls, writes: work}
	e.tasks.Go(func() { e.runOperatorActions(s) })
	for _, acc := range e.order {
		e.tasks.Go(func() { e.verifyCredentials(s, acc) })
	}
	err := e.dispatch(s)
	stop()
	e.drain(cutCalls, giveUp)
	stopWriter()
	<-writerDone
	e.breakers.Flush(work)
	return err
}

// loadBreakers adopts the breakers of the journal at the start, and the results of the
// token checks before the start.
func (e *Engine) loadBreakers(ctx context.Context) error {
	if err := e.breakers.Load(ctx); err != nil {
		return err
	}
	now := time.Now()
	for _, acc := range e.order {
		if x := acc.FirstCheck; x != nil {
			v := invoicebox.Classify(*x)
			acc.breaker.RecordFault(breaker.CheckSignalOf(v), v.Reason)
			if acc.breaker.Record(breaker.CheckSignalOf(v), e.retryAfter(acc, v), false, now) {
				e.breakerChanged(acc)
			}
		}
	}
	return nil
}

// drain waits for the operations in flight.
func (e *Engine) drain(cutCalls, giveUp context.CancelFunc) {
	done := make(chan struct{})
	go func() { e.tasks.Wait(); close(done) }()
	for _, step := range []struct {
		after time.Duration
		then  func()
	}{
		{e.cfg.DrainTime, func() {
			e.log.Warn("drain time over; cancelling the calls in flight")
			cutCalls()
		}},
		{drainGrace, func() {
			e.log.Error("the journal does not respond; writing only received responses")
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
func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// A task is an operation in flight.
type task struct {
	journal.ClaimedOperation
	acc         *account
	leaseEnd    time.Time // by the monotonic clock; never later than the journal's
	trial       bool
	pendingSend bool // counted as such
	code        bool // counted among the account's activating
	attempt     journal.AttemptID
	check       *shopCheck // that began with the save of the response
	macs        [][]byte   // of the address or code, once it is open
}

// probing reports whether the task's request is a probe of an unknown outcome: the code
// may be spent, the e-mail sent.
func (t *task) probing() bool { return t.Unknowns > 0 }

// begin counts a task; the caller holds e.mu.
func (e *Engine) begin(t *task) {
	t.acc.inFlight++
	if t.acc.inFlight > e.capacity.reserved {
		e.inFlight++
	}
	if t.pendingSend {
		t.acc.pendingSends++
		e.pendingSends++
		if t.code = t.Kind == journal.Activate; t.code {
			t.acc.activating++
		}
	}
	e.tasks.Add(1)
	t.acc.holding.Set(float64(t.acc.inFlight))
}

// sendDecided ends the count of a claim as a pending send.
func (e *Engine) sendDecided(t *task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.pendingSend {
		t.pendingSend = false
		t.acc.pendingSends--
		e.pendingSends--
	}
}

func (e *Engine) end(t *task) {
	e.sendDecided(t)
	if t.trial {
		t.acc.breaker.EndTrial()
	}
	e.mu.Lock()
	if t.acc.inFlight > e.capacity.reserved {
		e.inFlight--
	}
	t.acc.inFlight--
	if t.code {
		t.acc.activating--
	}
	t.acc.holding.Set(float64(t.acc.inFlight))
	enough := e.worthClaim(t.acc)
	e.mu.Unlock()
	if t.trial || e.capacityExhausted.Load() || enough && e.capacityLow.Load() {
		e.signal()
	}
	e.tasks.Done()
}

// freeCapacity is how many more operations of the account may be in flight; the caller
// holds e.mu.
func (e *Engine) freeCapacity(acc *account) int {
	return max(0, e.capacity.reserved-acc.inFlight) + max(0, e.capacity.shared-e.inFlight)
}

// worthClaim reports whether the account has capacity for enough operations to justify
// a claim: a claim of one costs nearly as much as one of many. Calls do not wait for
// the claim, because more operations are in flight than can call. The caller holds
// e.mu.
func (e *Engine) worthClaim(acc *account) bool {
	return e.freeCapacity(acc) >= max(1, e.capacity.reserved/8)
}

// background runs a small write concurrently with the task. The drain awaits it.
func (e *Engine) background(f func()) {
	e.tasks.Add(1)
	e.scheduler.spawn(func() {
		defer e.tasks.Done()
		f()
	})
}
