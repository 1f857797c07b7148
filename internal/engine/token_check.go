package engine

import (
	"context"
	"log/slog"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
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

func (v tokenVerdict) reason() onboarding.Reason {
	if v == tokenBad {
		return onboarding.ReasonTokenRefused
	}
	return onboarding.ReasonTokenUnanswered
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
	at := acc.gate.NextCheck()
	if at.IsZero() || acc.checking.Load() {
		return time.Time{}
	}
	if now.Before(at) {
		return at
	}
	if !acc.checking.CompareAndSwap(false, true) {
		return time.Time{}
	}
	acc.gate.BeginCheck()
	p.later(func() {
		p.checkOwn(s, acc)
		acc.checking.Store(false)
		p.signal()
	})
	return time.Time{}
}

// checkOwn asks whether the partner's own token works now, and tells the gate.
// The verdict is sigNone where no request was sent.
func (p *Pool) checkOwn(s scope, acc *account) (verdict breaker.Signal) {
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
			verdict, told = breaker.CheckSignalOf(v), p.told(acc, v)
			acc.gate.RecordFault(verdict, v.Reason)
		}
	}
	now := time.Now()
	acc.gate.AfterCheck(now)
	if acc.gate.Record(verdict, told, false, now) {
		p.gateChanged(acc)
	}
	return verdict
}

// gateChanged says so to whom it concerns: people, metrics, journal, dispatcher.
func (p *Pool) gateChanged(acc *account) {
	now := acc.gate.Snapshot()
	g, checkAt := now.Gate, now.CheckAt
	p.metrics.gate(acc.Name, g.State)
	attrs := []any{"account", acc.Name, "state", string(g.State), "reason", g.Reason}
	if !g.Until.IsZero() {
		attrs = append(attrs, "until", g.Until)
	}
	if !checkAt.IsZero() {
		attrs = append(attrs, "next_check", checkAt)
	}
	if d := onboarding.DescribeGate(acc.Name, g, time.Time{}, time.Now()); d.Todo != "" {
		attrs = append(attrs, "to_do", d.Todo)
	}
	p.log.Warn("the account's gate changed", attrs...)
	p.breakers.Notify()
	p.signal()
}

// leavesTrial says that a task's call was not sent, if it holds the account's trial.
func (p *Pool) leavesTrial(s scope, t *task) {
	if t.trial {
		p.breakers.ReleaseTrial(s.work, t.acc.gate)
	}
}

// BreakerState implements [breakerReporter].
func (p *Pool) BreakerState(account string, s journal.GateState) { p.metrics.gate(account, s) }

// BreakerError implements [breakerReporter].
func (p *Pool) BreakerError(step, msg string, err error, account string) {
	p.metrics.errors.WithLabelValues(step).Inc()
	p.outage.fails(slog.LevelError, msg, err, "account", account)
}

// writeGates brings changed gates into the journal, the newest state of each.
func (p *Pool) writeGates(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.breakers.Changes():
		}
		for try := 0; !p.breakers.Flush(ctx); try++ {
			if !p.steps.sleep(ctx, onboarding.Exponential(errorBase, errorCap, try)) {
				return
			}
		}
	}
}
