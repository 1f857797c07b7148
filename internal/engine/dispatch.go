package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

const (
	breakerRefresh    = 5 * time.Second        // how often the breakers are read without a change signal
	breakerRefreshMin = 200 * time.Millisecond // the least time between two reads at change signals: the change may be a breaker's
	errorBase         = 100 * time.Millisecond
	errorCap          = 5 * time.Second
)

// dispatch claims and starts due work at each signal and when time makes work due. It
// returns when the run ends, or when the journal is closed.
func (e *Engine) dispatch(s phases) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var b dispatchState
	defer e.stepped.Store(nil)
	for {
		e.noteStep()
		select {
		case <-s.accept.Done():
			return nil
		case <-e.journal.Changed():
			b.journalChanged()
		case <-e.wake:
		case <-timer.C:
		}
		if s.draining() {
			return nil
		}
		next, err := e.tick(s, &b)
		if err != nil {
			return err
		}
		timer.Reset(max(0, time.Until(next)))
	}
}

// noteStep notes that the dispatcher makes a step.
func (e *Engine) noteStep() {
	now := time.Now()
	e.stepped.Store(&now)
}

// Idle returns for how long the dispatcher has made no step. It makes one every few
// seconds, so more than a minute means that a call of the journal does not return. 0 while
// the engine does not run.
func (e *Engine) Idle() time.Duration {
	at := e.stepped.Load()
	if at == nil {
		return 0
	}
	return time.Since(*at)
}

// dispatchState is the dispatcher's state between two ticks.
type dispatchState struct {
	expireAt, refreshAt time.Time
	refreshed           time.Time
	failures            int // of the journal, in a row
}

// journalChanged handles a change signal of the journal. It reads the breakers, which
// another replica may have changed, but not at each signal of a busy journal.
func (b *dispatchState) journalChanged() {
	b.refreshAt = minTime(b.refreshAt, b.refreshed.Add(breakerRefreshMin))
}

// tick claims due work once. It returns when the next tick is due without a signal, and
// an error only when the journal is closed.
func (e *Engine) tick(s phases, b *dispatchState) (next time.Time, err error) {
	now := time.Now()
	if !now.Before(b.expireAt) {
		err = e.releaseExpiredLeases(s.accept)
		b.expireAt = now.Add(e.cfg.Lease / 2)
	}
	if err == nil && !now.Before(b.refreshAt) {
		err = e.breakers.Refresh(s.accept)
		b.refreshed, b.refreshAt = now, now.Add(breakerRefresh)
	}
	next = minTime(b.expireAt, b.refreshAt)
	if err == nil {
		var at time.Time
		if at, err = e.dispatchDue(s); err == nil {
			next = minTime(next, at)
		}
	}
	switch {
	case errors.Is(err, journal.ErrClosed):
		return next, err
	case err != nil && !s.draining():
		e.metrics.errors.WithLabelValues("dispatch").Inc()
		e.outage.failed(slog.LevelError, "cannot claim operations from the journal", err)
		if journal.Waits(err) {
			// Leases that ended meanwhile are of work that waits to be written. That
			// work is written first.
			b.expireAt = now.Add(outageEnd)
		}
		// Not by the timer: each signal would end that wait.
		e.scheduler.sleep(s.accept, onboarding.Exponential(errorBase, errorCap, b.failures))
		next = time.Now()
		b.failures++
	case err == nil:
		b.failures = 0
		e.outage.recovered()
	default:
		b.failures = 0
	}
	return next, nil
}

func minTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (e *Engine) releaseExpiredLeases(ctx context.Context) error {
	planned, unknown, err := e.journal.ReleaseExpiredLeases(ctx)
	if err == nil && planned+unknown > 0 {
		e.log.Warn("released operations whose lease had ended", "planned", planned, "unknown", unknown)
	}
	return err
}

// dispatchDue claims and starts work until no more can be started. It returns when work
// is due next, as far as time alone decides.
func (e *Engine) dispatchDue(s phases) (next time.Time, err error) {
	for {
		e.noteStep()
		dues, err := e.journal.Due(s.accept)
		if err != nil {
			return next, err
		}
		for _, acc := range e.order {
			clear(acc.due)
		}
		for _, d := range dues {
			if acc, ok := e.accounts[d.Account]; ok {
				acc.due[work{d.Kind, d.Stage}] = d.At
			} else if !e.unknownAccounts[d.Account] {
				e.unknownAccounts[d.Account] = true
				e.log.Warn("operations wait: their account is not configured", "account", d.Account)
			}
		}
		// Set before the capacity is counted, so that an operation that ends meanwhile
		// sends a signal.
		e.capacityExhausted.Store(true)
		claims, at, left, err := e.plan(s)
		if err != nil {
			endTrials(claims)
		}
		if err != nil || len(claims) == 0 {
			e.capacityLow.Store(left.low)
			e.capacityExhausted.Store(left.exhausted)
			return at, err
		}
		if err := e.claim(s, claims); err != nil {
			return next, err
		}
		if s.draining() {
			return next, nil
		}
	}
}

// A claim is one request for work, with the trial if it is the trial's.
type claim struct {
	acc   *account
	work  work
	limit int
	trial bool
}

// endTrials ends the trials of claims that are not made. A trial that does not end
// keeps its account closed.
func endTrials(claims []claim) {
	for _, c := range claims {
		if c.trial {
			c.acc.breaker.EndTrial()
		}
	}
}

// A left says which work a plan does not claim: exhausted, until an operation in flight
// ends; low, until there is capacity for enough operations.
type left struct{ exhausted, low bool }

// plan decides what to claim now, and when to plan again if only time changes the
// result. After an error it also returns the claims that it decided on before.
func (e *Engine) plan(s phases) (claims []claim, next time.Time, behind left, err error) {
	now := time.Now()
	egress := -1 // not read yet
	ready := e.readyAccounts(now)
	e.nextAccount++
	for i := range e.order {
		acc := e.order[(e.nextAccount+i)%len(e.order)]
		next = minTime(next, e.startDueTokenCheck(s, acc, now))
		var calls []work
		e.mu.Lock()
		room, codes, inFlight := e.freeCapacity(acc), acc.activating, acc.inFlight
		if !e.worthClaim(acc) {
			room = 0
		}
		e.mu.Unlock()
		whole := room
		planned := func(w work, n int, trial bool) {
			if n > 0 {
				claims = append(claims, claim{acc, w, n, trial})
				room -= n
			}
		}
		for _, w := range []work{
			{journal.Activate, journal.Settle}, {journal.Invite, journal.Settle},
			{journal.Activate, journal.Call}, {journal.Invite, journal.Call},
		} {
			at, ok := acc.due[w]
			switch {
			case !ok:
			case at.After(now):
				next = minTime(next, at)
			case w.stage == journal.Call:
				calls = append(calls, w)
			case room == 0:
				behind.low = true
			default:
				planned(w, room, false)
			}
		}
		if len(calls) == 0 {
			continue
		}
		allowed, until := acc.breaker.Allowance(now)
		if allowed == 0 {
			next = minTime(next, until)
			continue
		}
		acc.busy.Store(room == 0)
		free := acc.breaker.ActivationsLeft(codes)
		if room == 0 {
			behind.low = true
			continue
		}
		if free == 0 && calls[len(calls)-1].kind == journal.Activate {
			behind.exhausted = true
			continue
		}
		proving := acc.breaker.Proving()
		if proving && (inFlight > 0 || room < whole) {
			behind.exhausted = true
			continue
		}
		permits, at, err := e.permits(s.accept, acc, &egress)
		if err != nil {
			return claims, next, left{exhausted: true}, err
		}
		if permits == 0 {
			behind.exhausted = true // a response signals when a permit becomes available
			next = minTime(next, at)
			continue
		}
		// The permits for all accounts are divided among the accounts that remain, so
		// that the first one does not take all. Unused ones are distributed in the next
		// round.
		sharing := max(1, ready)
		ready--
		n := min(room, permits, allowed, (egress+sharing-1)/sharing)
		egress -= n
		if allowed != breaker.Unlimited {
			// The trial may fail: an invitation is the smaller loss.
			if acc.breaker.ReserveTrial(now) {
				planned(calls[len(calls)-1], 1, true)
			}
			continue
		}
		if proving {
			// As for a trial: an invitation is the smaller loss.
			planned(calls[len(calls)-1], 1, false)
			continue
		}
		beyond, at := e.beyondReserve(acc, n, free, codes, now)
		next = minTime(next, at)
		for _, c := range acc.divide(n, calls, free, beyond) {
			planned(c.work, c.limit, false)
			n -= c.limit
		}
		behind.exhausted = behind.exhausted || n > 0 // until an activation ends
	}
	return claims, next, behind, nil
}

// readyAccounts returns how many accounts have due calls that their breakers permit.
func (e *Engine) readyAccounts(now time.Time) (n int) {
	for _, acc := range e.order {
		for _, kind := range []journal.Kind{journal.Activate, journal.Invite} {
			if at, ok := acc.due[work{kind, journal.Call}]; ok && !at.After(now) {
				if allowed, _ := acc.breaker.Allowance(now); allowed > 0 {
					n++
				}
				break
			}
		}
	}
	return n
}

// maxCatchUp bounds what missed invitations add to the count at once: ten invitations,
// each counted ten times.
const maxCatchUp = 100

// divide shares n claims between activations and invitations: activations go first,
// invitations get every tenth while both wait. At most free activations are claimed. If
// some remain, invitations may take up to that many claims beyond their tenth.
func (acc *account) divide(n int, calls []work, free, beyond int) []claim {
	if len(calls) == 1 {
		if calls[0].kind == journal.Activate {
			n = min(n, free)
		}
		return []claim{{work: calls[0], limit: n}}
	}
	acc.activationsSinceInvite += min(n, free) + min(int(acc.missedInvitations.Swap(0)), maxCatchUp)
	second := min(acc.activationsSinceInvite/10, n)
	acc.activationsSinceInvite -= 10 * second
	first := min(n-second, free)
	return []claim{{work: calls[0], limit: first}, {work: calls[1], limit: second + min(beyond, n-first-second)}}
}

// heldLong is how long the slow start may delay activations before invitations get more
// than their tenth.
const heldLong = time.Second

// beyondReserve is how many of n claims invitations may have beyond their tenth while
// the slow start delays activations. Before heldLong there are none, because a few
// calls can end the slow start. Afterwards there are all but a reserve for activations.
// The reserve and the activations in flight are together as many as the concurrency,
// but at most nine tenths of each ledger. At is when heldLong is over.
func (e *Engine) beyondReserve(acc *account, n, free, inFlight int, now time.Time) (beyond int, at time.Time) {
	switch {
	case n <= free:
		acc.heldSince = time.Time{}
		return 0, at
	case acc.heldSince.IsZero():
		acc.heldSince = now
	}
	if at = acc.heldSince.Add(heldLong); now.Before(at) {
		return 0, at
	}
	most := min(e.cfg.Concurrency, (e.capacity.reserved+e.capacity.shared)/2, withoutTenth(acc.ledger.Limit), withoutTenth(e.cfg.EgressRequests))
	return max(0, n-free-max(0, most-inFlight)), time.Time{}
}

func withoutTenth(n int) int { return n - max(1, n/10) }

// permits returns how many permits the ledgers have for new claims, and when to ask
// again if there are none. Egress is the number for all accounts together, read once a
// round.
func (e *Engine) permits(ctx context.Context, acc *account, egress *int) (int, time.Time, error) {
	fallback := time.Now().Add(time.Second)
	var next time.Time
	e.mu.Lock()
	own, all := acc.pendingSends, e.pendingSends
	e.mu.Unlock()
	if *egress < 0 {
		n, at, err := e.journal.AvailablePermits(ctx, e.cfg.egress())
		if err != nil {
			return 0, next, err
		}
		e.metrics.permits.WithLabelValues(EgressLedger).Set(float64(n))
		*egress = max(0, n-all)
		next = at
	}
	n, at, err := e.journal.AvailablePermits(ctx, acc.ledger)
	if err != nil {
		return 0, next, err
	}
	e.metrics.permits.WithLabelValues(acc.ledger.RateLimit).Set(float64(n))
	n = max(0, n-own)
	if n > 0 && *egress > 0 {
		acc.permit.Store(nil)
		return min(n, *egress), time.Time{}, nil
	}
	ledger := EgressLedger
	if n == 0 {
		next, ledger = at, acc.ledger.RateLimit
	}
	if next.Before(time.Now()) {
		next = fallback
	}
	acc.permit.Store(&nextPermit{ledger, next})
	return 0, next, nil
}

// claim claims several kinds of work in one commit, so that no account waits for
// another's commit, and starts the work.
func (e *Engine) claim(s phases, claims []claim) error {
	if len(claims) == 1 {
		return e.claimOne(s, claims[0])
	}
	errs := make([]error, len(claims))
	e.scheduler.parallel(len(claims), func(i int) { errs[i] = e.claimOne(s, claims[i]) })
	return errors.Join(errs...)
}

func (e *Engine) claimOne(s phases, c claim) error {
	before := time.Now()
	// Not the run's context: a claim that was committed and not returned would wait for
	// the end of its lease.
	ops, err := e.journal.Claim(s.writes, journal.ClaimRequest{
		Account: c.acc.Name, Kind: c.work.kind, Stage: c.work.stage, Limit: c.limit, Lease: e.cfg.Lease, Owner: e.cfg.Owner,
		Invitations: c.work.kind == journal.Activate && e.cfg.Tracer.Enabled(),
	})
	if c.trial && (err != nil || len(ops) == 0) {
		c.acc.breaker.EndTrial()
	}
	if err != nil {
		return err
	}
	tasks := make([]*task, len(ops))
	e.mu.Lock()
	for i, op := range ops {
		tasks[i] = &task{
			ClaimedOperation: op, acc: c.acc, leaseEnd: before.Add(e.cfg.Lease),
			trial: c.trial, pendingSend: c.work.stage == journal.Call,
		}
		e.begin(tasks[i])
	}
	e.mu.Unlock()
	for _, t := range tasks {
		e.scheduler.spawn(func() { e.run(s, t) })
	}
	return nil
}
