package onboarding

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// tokenVerdict is what a check says of a token.
type tokenVerdict uint8

const (
	tokenSilent tokenVerdict = iota // no answer that speaks of it
	tokenGood
	tokenBad
)

func (v tokenVerdict) reason() Reason {
	if v == tokenBad {
		return ReasonTokenRefused
	}
	return ReasonTokenUnanswered
}

// A shopCheck is the check of a shop's new token.
type shopCheck struct {
	id       journal.AttemptID // 0 until it has begun
	start    journal.Check
	by       time.Time     // to be sent until then
	deadline time.Duration // of the request
	end      *journal.AttemptEnd
}

// newCheck prepares a check of a task's token. It takes a permit of the egress ledger
// only, because it is sent with the shop's token. While draining nothing is checked.
func (p *Pool) newCheck(s scope, t *task) (c *shopCheck, ok bool) {
	left := time.Until(t.leaseEnd) - leaseMargin
	deadline := min(p.cfg.checkDeadline(), left/2)
	sendBy := min(p.cfg.sendBy(), left/4)
	if s.draining() || deadline <= 0 || sendBy <= 0 {
		return nil, false
	}
	return &shopCheck{
		start: journal.Check{Account: t.acc.Name, SendBy: sendBy, Deadline: sendBy + deadline, Permits: []journal.Permit{p.cfg.egress()}},
		by:    time.Now().Add(sendBy), deadline: deadline,
	}, true
}

// beginCheck returns the check that the task's response began, or begins one. It
// returns nil if none can begin.
func (p *Pool) beginCheck(s scope, t *task) *shopCheck {
	if c := t.check; c != nil {
		t.check = nil
		return c
	}
	c, ok := p.newCheck(s, t)
	if !ok {
		return nil
	}
	var err error
	if c.id, err = p.journal.BeginCheck(s.work, c.start); err != nil {
		return nil
	}
	return c
}

// dropCheck ends a check that the task's response began and that was not made.
func (p *Pool) dropCheck(s scope, t *task) {
	if c := t.check; c != nil {
		t.check = nil
		end := unsentCheck()
		c.end = &end
		p.endChecked(s, c)
	}
}

// endChecked saves the end of a check, if there is one, beside the steps that follow.
func (p *Pool) endChecked(s scope, c *shopCheck) {
	if c != nil {
		p.later(func() { p.endCheck(s, c.id, *c.end) })
	}
}

// checkToken asks whether a shop's new token works. The caller saves the end of the
// check, if there is one.
func (p *Pool) checkToken(s scope, t *task, token secret.String) (tokenVerdict, *shopCheck) {
	c := p.beginCheck(s, t)
	if c == nil {
		return tokenSilent, nil
	}
	place := p.steps.take(t.acc.calls, c.by, s.run.Done())
	if place == nil {
		end := unsentCheck()
		c.end = &end
		return tokenSilent, c
	}
	ctx, cancel := context.WithTimeout(s.calls, c.deadline)
	x := t.acc.Client.CheckToken(ctx, invoicebox.Attempt{SendBy: c.by}, token)
	cancel()
	place()
	v, result, err := invoicebox.ReadCheck(x)
	p.metrics.called(x.Operation.String(), v.Class.String(), x.Finished.Sub(x.Started))
	end := endOf(x, v)
	c.end = &end
	switch {
	case err != nil || !result.Conclusive:
		p.log.Info("the new token could not be checked", t.attrs("status", x.Status, "outcome", v.Class.String(), "request_id", x.RequestID)...)
		return tokenSilent, c
	case result.Valid:
		return tokenGood, c
	}
	p.log.Warn("the new token is refused", t.attrs("status", x.Status, "request_id", x.RequestID)...)
	return tokenBad, c
}

func unsentCheck() journal.AttemptEnd {
	return journal.AttemptEnd{NotSent: true, At: time.Now(), Outcome: invoicebox.NotExecuted.String()}
}

// tokenCheck starts a check of the partner's own token when one is due, and
// returns when the next is.
func (p *Pool) tokenCheck(s scope, acc *account, now time.Time) time.Time {
	g := acc.gate
	g.mu.Lock()
	at := g.checkAt
	if at.IsZero() || acc.checking.Load() {
		g.mu.Unlock()
		return time.Time{}
	}
	if now.Before(at) {
		g.mu.Unlock()
		return at
	}
	if !acc.checking.CompareAndSwap(false, true) {
		g.mu.Unlock()
		return time.Time{}
	}
	g.renewed = false
	g.mu.Unlock()
	p.later(func() {
		p.checkOwn(s, acc)
		acc.checking.Store(false)
		p.signal()
	})
	return time.Time{}
}

// checkOwn asks whether the partner's own token works now, and tells the gate.
// The verdict is sigNone where no request was sent.
func (p *Pool) checkOwn(s scope, acc *account) (verdict signal) {
	told := time.Duration(0)
	sendBy := p.cfg.sendBy()
	// Its permits are held that long: whoever stood still meanwhile sends nothing.
	calls, cancel := context.WithTimeout(s.calls, sendBy+p.cfg.RequestDeadline)
	defer cancel()
	id, err := p.journal.BeginCheck(s.work, journal.Check{
		Account: acc.Name, SendBy: sendBy, Deadline: sendBy + p.cfg.RequestDeadline,
		Permits: []journal.Permit{acc.ledger, p.cfg.egress()},
	})
	if err == nil {
		if place := p.steps.take(acc.calls, time.Now().Add(sendBy), s.run.Done()); place == nil {
			p.endCheck(s, id, unsentCheck())
		} else {
			x := acc.Client.CheckOwnToken(calls)
			place()
			v := invoicebox.Classify(x)
			p.metrics.called(x.Operation.String(), v.Class.String(), x.Finished.Sub(x.Started))
			p.endCheck(s, id, endOf(x, v))
			p.log.Info("checked the partner's token", "account", acc.Name, "status", x.Status, "outcome", v.Class.String(), "reason", string(v.Reason), "detail", x.Detail(), "request_id", x.RequestID)
			verdict, told = checkSignal(v), p.told(acc, v)
			acc.gate.failed(verdict, v.Reason)
		}
	}
	now := time.Now()
	acc.gate.checked(now)
	if acc.gate.tell(verdict, told, false, now) {
		p.gateChanged(acc)
	}
	return verdict
}

// A checkSignalRow says what a check of the account's own token tells its gate. The
// first row that fits decides.
type checkSignalRow struct {
	class  invoicebox.Class
	fault  invoicebox.Fault  // FaultNone is any
	reason invoicebox.Reason // "" is any
	signal signal
}

// checkSignals: what is not here is no answer. The check sends a token and nothing
// else: whoever refuses its form, or reports success in another form, is not the API.
var checkSignals = []checkSignalRow{
	{class: invoicebox.Done, signal: sigTokenGood},
	{class: invoicebox.Unauthorized, signal: sigUnauthorized},
	{class: invoicebox.Limited, signal: sigLimited},
	{class: invoicebox.OurFault, fault: invoicebox.FaultPartnerID, signal: sigTokenPartner},
	{class: invoicebox.OurFault, fault: invoicebox.FaultRights, signal: sigTokenOdd},
	{class: invoicebox.OurFault, signal: sigTokenAddress},
	{class: invoicebox.Refused, signal: sigTokenOdd},
	{class: invoicebox.Unreadable, reason: invoicebox.ReasonBodyCut, signal: sigTokenOdd},
	{class: invoicebox.Unreadable, signal: sigTokenAddress},
	{class: invoicebox.Unknown, reason: invoicebox.ReasonNotHTTP, signal: sigTokenAddress},
	{class: invoicebox.Unknown, reason: invoicebox.ReasonHeaderLarge, signal: sigTokenAddress},
}

func checkSignal(v invoicebox.Verdict) signal {
	for _, r := range checkSignals {
		if r.class == v.Class && (r.fault == invoicebox.FaultNone || r.fault == v.Fault) && (r.reason == "" || r.reason == v.Reason) {
			return r.signal
		}
	}
	return sigTokenBad
}

// gateChanged says so to whom it concerns: people, metrics, journal, dispatcher.
func (p *Pool) gateChanged(acc *account) {
	acc.gate.mu.Lock()
	g, checkAt := acc.gate.shown(), acc.gate.checkAt
	acc.gate.mu.Unlock()
	p.metrics.gate(acc.Name, g.State)
	attrs := []any{"account", acc.Name, "state", string(g.State), "reason", g.Reason}
	if !g.Until.IsZero() {
		attrs = append(attrs, "until", g.Until)
	}
	if !checkAt.IsZero() {
		attrs = append(attrs, "next_check", checkAt)
	}
	if d := DescribeGate(acc.Name, g, time.Time{}, time.Now()); d.Todo != "" {
		attrs = append(attrs, "to_do", d.Todo)
	}
	p.log.Warn("the account's gate changed", attrs...)
	select {
	case p.gateWrite <- struct{}{}:
	default:
	}
	p.signal()
}

// writeGates brings changed gates into the journal, the newest state of each.
func (p *Pool) writeGates(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.gateWrite:
		}
		for try := 0; !p.flushGates(ctx); try++ {
			if !p.steps.sleep(ctx, growing(errorBase, errorCap, try)) {
				return
			}
		}
	}
}

// flushGates writes every changed gate; false when one could not be written.
func (p *Pool) flushGates(ctx context.Context) bool {
	p.gateWriting.Lock()
	defer p.gateWriting.Unlock()
	ok, stale := true, false
	for _, acc := range p.order {
		x := acc.gate
		x.mu.Lock()
		g, was, dirty := x.g, x.known, x.dirty
		x.mu.Unlock()
		if !dirty {
			continue
		}
		if was.State == "" {
			was.State = journal.GateOpen
		}
		err := p.journal.SetGate(ctx, acc.Name, g, &was)
		x.mu.Lock()
		if errors.Is(err, journal.ErrStale) {
			// A person, or another replica, was first: a pause must not be undone by
			// what was learned before it.
			x.dirty, stale, err = false, true, nil
		} else if err == nil {
			x.known = g
			x.version++
			x.dirty = !sameGate(x.g, g) // it may have changed since
		}
		ok = ok && err == nil
		x.mu.Unlock()
		if err != nil {
			p.metrics.errors.WithLabelValues("set_gate").Inc()
			p.outage.fails(slog.LevelError, "the account's gate could not be written", err, "account", acc.Name)
		}
	}
	if stale && p.refreshGates(ctx) != nil {
		p.log.Debug("the gates are read again later")
	}
	return ok
}

// takesTrial tells whether this process makes the one call that tries a gate: of
// several replicas the first does, and the others wait for what it learns, or as
// long as a call takes.
func (p *Pool) takesTrial(s scope, acc *account) bool {
	x, now := acc.gate, time.Now()
	x.mu.Lock()
	x.mine = true
	x.mu.Unlock()
	err := p.endGateAt(s, acc, now.Add(p.callTime()))
	if err == nil {
		return true
	}
	x.mu.Lock()
	x.mine = false
	x.opens = later(x.opens, now.Add(trialPause))
	x.mu.Unlock()
	if !errors.Is(err, journal.ErrStale) {
		p.metrics.errors.WithLabelValues("reserve_trial").Inc()
		p.outage.fails(slog.LevelError, "the call that tries the account's gate could not be agreed on", err, "account", acc.Name)
	} else if p.refreshGates(s.work) != nil {
		p.log.Debug("the gates are read again later")
	}
	return false
}

// leavesTrial says that the call was not sent: it is anybody's again. Where that
// fails the others wait as if it had been.
func (p *Pool) leavesTrial(s scope, t *task) {
	if t.trial && p.endGateAt(s, t.acc, time.Now()) != nil {
		p.log.Debug("the gate opens for others a little later", "account", t.acc.Name)
	}
}

// endGateAt moves the end of a limited or resting gate in the journal.
func (p *Pool) endGateAt(s scope, acc *account, at time.Time) error {
	x, until := acc.gate, stored(at)
	x.mu.Lock()
	was, dirty, version := x.known, x.dirty, x.version
	x.mu.Unlock()
	if dirty {
		return journal.ErrStale // what this process has learned is not in the journal yet
	}
	err := p.journal.ReserveTrial(s.work, acc.Name, was, until)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && x.version == version {
		x.version++
		x.known.Until = until
		if !x.dirty {
			x.g.Until = until
		}
	}
	return err
}

// refreshGates takes over gates that someone else changed in the journal.
func (p *Pool) refreshGates(ctx context.Context) error {
	versions := make([]int, len(p.order))
	for i, acc := range p.order {
		acc.gate.mu.Lock()
		versions[i] = acc.gate.version
		acc.gate.mu.Unlock()
	}
	known, err := p.journal.Accounts(ctx)
	if err != nil {
		return err
	}
	gates := make(map[string]journal.Gate, len(known))
	for _, k := range known {
		gates[k.Name] = k.Gate
	}
	now := time.Now()
	for i, acc := range p.order {
		g, there := gates[acc.Name]
		x := acc.gate
		x.mu.Lock()
		// What was written since the read began is newer than what was read.
		adopted := there && !x.dirty && x.version == versions[i] && !sameGate(g, x.known)
		if x.mine && g.State == x.known.State && g.Reason == x.known.Reason {
			adopted = false // only its end, which this process puts off
		}
		if adopted {
			x.adopt(g, now)
		}
		state := x.shown().State
		x.mu.Unlock()
		if adopted {
			p.metrics.gate(acc.Name, state)
			p.log.Info("the account's gate was changed from outside", "account", acc.Name, "state", string(g.State), "reason", g.Reason)
		}
	}
	return nil
}
