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
	gateRefresh = 5 * time.Second        // how often the gates are read when nobody tells of a change
	gateNotice  = 200 * time.Millisecond // and how often at most when somebody does: it may have been a gate
	errorBase   = 100 * time.Millisecond
	errorCap    = 5 * time.Second
)

// dispatch looks for due work whenever something tells that there may be some,
// and starts it. It returns when the run ends, or when the journal is closed.
func (p *Pool) dispatch(s scope) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var b beats
	for {
		select {
		case <-s.run.Done():
			return nil
		case <-p.journal.Changed():
			b.told()
		case <-p.wake:
		case <-timer.C:
		}
		if s.draining() {
			return nil
		}
		next, err := p.beat(s, &b)
		if err != nil {
			return err
		}
		timer.Reset(max(0, time.Until(next)))
	}
}

// beats is what the dispatcher keeps from one look to the next.
type beats struct {
	expireAt, refreshAt time.Time
	refreshed           time.Time
	failures            int // of the journal, in a row
}

// told says that something changed in the journal. What another replica did to a
// gate is seen in time, and a busy journal is not asked at each of its signals.
func (b *beats) told() { b.refreshAt = minTime(b.refreshAt, b.refreshed.Add(gateNotice)) }

// beat is one look for due work. It returns when the next one is due without a
// signal, and an error only when the journal is closed.
func (p *Pool) beat(s scope, b *beats) (next time.Time, err error) {
	now := time.Now()
	if !now.Before(b.expireAt) {
		err = p.expire(s.run)
		b.expireAt = now.Add(p.cfg.Lease / 2)
	}
	if err == nil && !now.Before(b.refreshAt) {
		err = p.breakers.Refresh(s.run)
		b.refreshed, b.refreshAt = now, now.Add(gateRefresh)
	}
	next = minTime(b.expireAt, b.refreshAt)
	if err == nil {
		var at time.Time
		if at, err = p.round(s); err == nil {
			next = minTime(next, at)
		}
	}
	switch {
	case errors.Is(err, journal.ErrClosed):
		return next, err
	case err != nil && !s.draining():
		p.metrics.errors.WithLabelValues("dispatch").Inc()
		p.outage.fails(slog.LevelError, "the journal does not give out work", err)
		if journal.Waits(err) {
			// Leases that ran out meanwhile are those of work that waits to be written:
			// that comes first.
			b.expireAt = now.Add(outageOver)
		}
		// Not by the timer: signals would wake it again and again.
		p.steps.sleep(s.run, onboarding.Exponential(errorBase, errorCap, b.failures))
		next = time.Now()
		b.failures++
	case err == nil:
		b.failures = 0
		p.outage.works()
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

func (p *Pool) expire(ctx context.Context) error {
	planned, unknown, err := p.journal.ReleaseExpiredLeases(ctx)
	if err == nil && planned+unknown > 0 {
		p.log.Warn("leases ended before their work did", "planned", planned, "unknown", unknown)
	}
	return err
}

// round claims and starts whatever may be started, until nothing more may. It
// returns when something is due next, as far as time alone decides.
func (p *Pool) round(s scope) (next time.Time, err error) {
	for {
		dues, err := p.journal.Due(s.run)
		if err != nil {
			return next, err
		}
		for _, acc := range p.order {
			clear(acc.due)
		}
		for _, d := range dues {
			if acc, ok := p.accounts[d.Account]; ok {
				acc.due[work{d.Kind, d.Stage}] = d.At
			} else if !p.strangers[d.Account] {
				p.strangers[d.Account] = true
				p.log.Warn("work of an account that is not configured waits", "account", d.Account)
			}
		}
		// Set before the room is counted: what ends meanwhile must be heard of.
		p.hungry.Store(true)
		claims, at, hungry, err := p.plan(s)
		if err != nil {
			giveBackTrials(claims)
		}
		if err != nil || len(claims) == 0 {
			p.hungry.Store(hungry)
			return at, err
		}
		if err := p.claim(s, claims); err != nil {
			return next, err
		}
		if s.draining() {
			return next, nil
		}
	}
}

// A claim is one request, with the trial where it is one.
type claim struct {
	acc   *account
	work  work
	limit int
	trial bool
}

// giveBackTrials says that nobody makes the claims: a trial that is not given back
// closes its account for good.
func giveBackTrials(claims []claim) {
	for _, c := range claims {
		if c.trial {
			c.acc.gate.EndTrial()
		}
	}
}

// plan decides what to claim now, and when to look again where only time helps.
// Hungry: something is left behind until an operation in flight ends. With an
// error come the claims that were decided on before it.
func (p *Pool) plan(s scope) (claims []claim, next time.Time, hungry bool, err error) {
	now := time.Now()
	egress := -1 // not asked yet
	contenders := p.contenders(now)
	p.first++
	for i := range p.order {
		acc := p.order[(p.first+i)%len(p.order)]
		next = minTime(next, p.tokenCheck(s, acc, now))
		var calls []work
		p.mu.Lock()
		room, codes, inFlight := p.freeRoom(acc), acc.activating, acc.inFlight
		p.mu.Unlock()
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
				hungry = true
			default:
				planned(w, room, false)
			}
		}
		if len(calls) == 0 {
			continue
		}
		allowed, until := acc.gate.Allowance(now)
		if allowed == 0 {
			next = minTime(next, until)
			continue
		}
		acc.busy.Store(room == 0)
		free := acc.gate.ActivationsLeft(codes)
		if room == 0 || free == 0 && calls[len(calls)-1].kind == journal.Activate {
			hungry = true
			continue
		}
		proving := acc.gate.Proving()
		if proving && (inFlight > 0 || room < whole) {
			hungry = true
			continue
		}
		permits, at, err := p.permits(s.run, acc, &egress)
		if err != nil {
			return claims, next, true, err
		}
		if permits == 0 {
			hungry = true // an answer tells when a permit comes back
			next = minTime(next, at)
			continue
		}
		// What is left to all is divided among those that still come, so that the
		// first does not take it; what they leave is given out in the next round.
		left := max(1, contenders)
		contenders--
		n := min(room, permits, allowed, (egress+left-1)/left)
		egress -= n
		if allowed != breaker.Unlimited {
			// The trial may fail: an invitation is the smaller loss.
			if acc.gate.TakeTrial(now) {
				planned(calls[len(calls)-1], 1, true)
			}
			continue
		}
		if proving {
			// As for a trial: an invitation is the smaller loss.
			planned(calls[len(calls)-1], 1, false)
			continue
		}
		beyond, at := p.beyondReserve(acc, n, free, codes, now)
		next = minTime(next, at)
		for _, c := range acc.split(n, calls, free, beyond) {
			planned(c.work, c.limit, false)
			n -= c.limit
		}
		hungry = hungry || n > 0 // until an activation ends
	}
	return claims, next, hungry, nil
}

// contenders are how many accounts have calls due that their gates let through.
func (p *Pool) contenders(now time.Time) (n int) {
	for _, acc := range p.order {
		for _, kind := range []journal.Kind{journal.Activate, journal.Invite} {
			if at, ok := acc.due[work{kind, journal.Call}]; ok && !at.After(now) {
				if allowed, _ := acc.gate.Allowance(now); allowed > 0 {
					n++
				}
				break
			}
		}
	}
	return n
}

// maxOwed bounds what invitations can make up for at once: ten of them.
const maxOwed = 100

// split shares n claims between activations and invitations: activations go
// first, invitations get every tenth while both wait. Of activations no more than
// free are claimed; where that leaves some behind, invitations may take so many
// beyond their tenth.
func (acc *account) split(n int, calls []work, free, beyond int) []claim {
	if len(calls) == 1 {
		if calls[0].kind == journal.Activate {
			n = min(n, free)
		}
		return []claim{{work: calls[0], limit: n}}
	}
	acc.turn += min(n, free) + min(int(acc.owed.Swap(0)), maxOwed)
	second := min(acc.turn/10, n)
	acc.turn -= 10 * second
	first := min(n-second, free)
	return []claim{{work: calls[0], limit: first}, {work: calls[1], limit: second + min(beyond, n-first-second)}}
}

// heldLong is how long the slow start may hold activations back before invitations
// get more than their tenth.
const heldLong = time.Second

// beyondReserve is how many of n claims invitations may have beyond their tenth
// while the slow start holds activations back. At first there are none, because a
// few calls end it. After heldLong there are all but a reserve for the activations:
// together with those in flight as many as may be called at once, but at most nine
// tenths of each ledger. At is when that begins.
func (p *Pool) beyondReserve(acc *account, n, free, inFlight int, now time.Time) (beyond int, at time.Time) {
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
	most := min(p.cfg.Concurrency, (p.room.own+p.room.shared)/2, nineTenths(acc.ledger.Limit), nineTenths(p.cfg.EgressRequests))
	return max(0, n-free-max(0, most-inFlight)), time.Time{}
}

func nineTenths(n int) int { return n - max(1, n/10) }

// permits is how many calls the ledgers leave for new claims, and when to ask
// again when there are none. Egress is what they leave to all accounts together,
// asked once a round.
func (p *Pool) permits(ctx context.Context, acc *account, egress *int) (int, time.Time, error) {
	fallback := time.Now().Add(time.Second)
	var next time.Time
	p.mu.Lock()
	own, all := acc.unsent, p.unsent
	p.mu.Unlock()
	if *egress < 0 {
		n, at, err := p.journal.AvailablePermits(ctx, p.cfg.egress())
		if err != nil {
			return 0, next, err
		}
		p.metrics.permits.WithLabelValues(EgressLedger).Set(float64(n))
		*egress = max(0, n-all)
		next = at
	}
	n, at, err := p.journal.AvailablePermits(ctx, acc.ledger)
	if err != nil {
		return 0, next, err
	}
	p.metrics.permits.WithLabelValues(acc.ledger.Ledger).Set(float64(n))
	n = max(0, n-own)
	if n > 0 && *egress > 0 {
		acc.permit.Store(nil)
		return min(n, *egress), time.Time{}, nil
	}
	ledger := EgressLedger
	if n == 0 {
		next, ledger = at, acc.ledger.Ledger
	}
	if next.Before(time.Now()) {
		next = fallback
	}
	acc.permit.Store(&nextPermit{ledger, next})
	return 0, next, nil
}

// claim asks for several kinds of work at once, so that no account waits for
// another's commit, and starts what it gets.
func (p *Pool) claim(s scope, claims []claim) error {
	if len(claims) == 1 {
		return p.claimOne(s, claims[0])
	}
	errs := make([]error, len(claims))
	p.steps.all(len(claims), func(i int) { errs[i] = p.claimOne(s, claims[i]) })
	return errors.Join(errs...)
}

func (p *Pool) claimOne(s scope, c claim) error {
	before := time.Now()
	// Not the run's context: a claim that was made and not learned of would
	// wait for its lease.
	ops, err := p.journal.Claim(s.work, journal.ClaimRequest{
		Account: c.acc.Name, Kind: c.work.kind, Stage: c.work.stage, Limit: c.limit, Lease: p.cfg.Lease, Owner: p.cfg.Owner,
	})
	if c.trial && (err != nil || len(ops) == 0) {
		c.acc.gate.EndTrial()
	}
	if err != nil {
		return err
	}
	tasks := make([]*task, len(ops))
	p.mu.Lock()
	for i, op := range ops {
		tasks[i] = &task{
			ClaimedOperation: op, acc: c.acc, leaseEnd: before.Add(p.cfg.Lease),
			trial: c.trial, unsent: c.work.stage == journal.Call,
		}
		p.begin(tasks[i])
	}
	p.mu.Unlock()
	for _, t := range tasks {
		p.steps.start(func() { p.perform(s, t) })
	}
	return nil
}
