package engine

import (
	"context"
	"log/slog"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
)

// tokenVerdict is the result of a token check.
type tokenVerdict uint8

const (
	tokenSilent tokenVerdict = iota // no response that shows whether it is valid
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
	by       time.Time     // the latest time to send it
	deadline time.Duration // of the request
	end      *journal.AttemptEnd
}

// newCheck prepares a check of a task's token. It takes a permit of the egress ledger
// only, because it is sent with the shop's token. While draining nothing is checked.
func (e *Engine) newCheck(s phases, t *task) (c *shopCheck, ok bool) {
	left := time.Until(t.leaseEnd) - leaseMargin
	deadline := min(e.cfg.checkDeadline(), left/2)
	sendBy := min(e.cfg.sendBy(), left/4)
	if s.draining() || deadline <= 0 || sendBy <= 0 {
		return nil, false
	}
	return &shopCheck{
		start: journal.Check{Account: t.acc.Name, SendBy: sendBy, Deadline: sendBy + deadline, Permits: []journal.Permit{e.cfg.egress()}},
		by:    time.Now().Add(sendBy), deadline: deadline,
	}, true
}

// beginCheck returns the check that the task's response began, or begins one. It
// returns nil if none can begin.
func (e *Engine) beginCheck(s phases, t *task) *shopCheck {
	if c := t.check; c != nil {
		t.check = nil
		return c
	}
	c, ok := e.newCheck(s, t)
	if !ok {
		return nil
	}
	var err error
	if c.id, err = e.journal.BeginCheck(s.writes, c.start); err != nil {
		return nil
	}
	return c
}

// dropCheck ends a check that the task's response began and that was not made.
func (e *Engine) dropCheck(s phases, t *task) {
	if c := t.check; c != nil {
		t.check = nil
		end := unsentCheck()
		c.end = &end
		e.saveCheckEnd(s, c)
	}
}

// saveCheckEnd saves the end of a check, if there is one, beside the steps that follow.
func (e *Engine) saveCheckEnd(s phases, c *shopCheck) {
	if c != nil {
		e.background(func() { e.endAttempt(s, c.id, *c.end) })
	}
}

// checkToken checks a shop's new token. The caller saves the end of the check, if there
// is one.
func (e *Engine) checkToken(s phases, t *task, token secret.String) (tokenVerdict, *shopCheck) {
	c := e.beginCheck(s, t)
	if c == nil {
		return tokenSilent, nil
	}
	place := e.scheduler.acquire(t.acc.callSlots, c.by, s.accept.Done())
	if place == nil {
		end := unsentCheck()
		c.end = &end
		return tokenSilent, c
	}
	ctx, cancel := context.WithTimeout(s.calls, c.deadline)
	x := t.acc.Client.CheckToken(ctx, invoicebox.CallOptions{SendBy: c.by}, token)
	cancel()
	place()
	v, result, err := invoicebox.ReadCheck(x)
	e.metrics.called(s.writes, x.Operation.String(), v.Outcome.String(), x.Finished.Sub(x.Started))
	end := endOf(x, v)
	c.end = &end
	switch {
	case err != nil || !result.Conclusive:
		e.log.Info("the check of the new token was inconclusive", t.attrs("status", x.Status, "outcome", v.Outcome.String(), "request_id", x.RequestID)...)
		return tokenSilent, c
	case result.Valid:
		return tokenGood, c
	}
	e.log.Warn("Invoicebox rejected the new token", t.attrs("status", x.Status, "request_id", x.RequestID)...)
	return tokenBad, c
}

func unsentCheck() journal.AttemptEnd {
	return journal.AttemptEnd{NotSent: true, At: time.Now(), Outcome: invoicebox.NotExecuted.String()}
}

// startDueTokenCheck starts a check of the partner's own token when one is due, and
// returns when the next is.
func (e *Engine) startDueTokenCheck(s phases, acc *account, now time.Time) time.Time {
	at := acc.breaker.NextCheck()
	if at.IsZero() || acc.checkingToken.Load() {
		return time.Time{}
	}
	if now.Before(at) {
		return at
	}
	if !acc.checkingToken.CompareAndSwap(false, true) {
		return time.Time{}
	}
	acc.breaker.BeginCheck()
	e.background(func() {
		e.checkOwnToken(s, acc)
		acc.checkingToken.Store(false)
		e.signal()
	})
	return time.Time{}
}

// checkOwnToken checks the partner's own token and reports the result to the breaker.
// The signal is SignalNone if no request was sent.
func (e *Engine) checkOwnToken(s phases, acc *account) (verdict breaker.Signal) {
	s, span := e.startRoot(s, "check account", acc.Name, "", tracing.Event{})
	defer span.End()
	wait := time.Duration(0)
	sendBy := e.cfg.sendBy()
	// Its permits are held that long: a process that was suspended meanwhile sends
	// nothing.
	calls, cancel := context.WithTimeout(s.calls, sendBy+e.cfg.RequestDeadline)
	defer cancel()
	id, err := e.journal.BeginCheck(s.writes, journal.Check{
		Account: acc.Name, SendBy: sendBy, Deadline: sendBy + e.cfg.RequestDeadline,
		Permits: []journal.Permit{acc.ledger, e.cfg.egress()},
	})
	if err == nil {
		if place := e.scheduler.acquire(acc.callSlots, time.Now().Add(sendBy), s.accept.Done()); place == nil {
			e.endAttempt(s, id, unsentCheck())
		} else {
			x := acc.Client.CheckOwnToken(calls)
			place()
			v := invoicebox.Classify(x)
			e.metrics.called(s.writes, x.Operation.String(), v.Outcome.String(), x.Finished.Sub(x.Started))
			e.endAttempt(s, id, endOf(x, v))
			e.log.Info("checked the partner's token", "account", acc.Name, "status", x.Status, "outcome", v.Outcome.String(), "reason", string(v.Reason), "detail", x.Detail(), "request_id", x.RequestID)
			verdict, wait = breaker.CheckSignalOf(v), e.retryAfter(acc, v)
			acc.breaker.RecordFault(verdict, v.Reason)
		}
	}
	now := time.Now()
	acc.breaker.AfterCheck(now)
	if acc.breaker.Record(verdict, wait, false, now) {
		e.breakerChanged(acc)
	}
	return verdict
}

// breakerChanged logs a change of a breaker, and notifies metrics, journal and
// dispatcher.
func (e *Engine) breakerChanged(acc *account) {
	now := acc.breaker.Snapshot()
	g, checkAt := now.Circuit, now.CheckAt
	e.metrics.breaker(acc.Name, g.State)
	attrs := []any{"account", acc.Name, "state", string(g.State), "reason", g.Reason}
	if !g.Until.IsZero() {
		attrs = append(attrs, "until", g.Until)
	}
	if !checkAt.IsZero() {
		attrs = append(attrs, "next_check", checkAt)
	}
	if d := onboarding.DescribeBreaker(acc.Name, g, time.Time{}, time.Now()); d.Todo != "" {
		attrs = append(attrs, "to_do", d.Todo)
	}
	e.log.Warn("circuit breaker changed", attrs...)
	e.breakers.Notify()
	e.signal()
}

// releaseTrial releases the account's trial, if the task holds it and its call was not
// sent.
func (e *Engine) releaseTrial(s phases, t *task) {
	if t.trial {
		e.breakers.ReleaseTrial(s.writes, t.acc.breaker)
	}
}

// BreakerState implements [breakerReporter].
func (e *Engine) BreakerState(account string, s journal.CircuitState) { e.metrics.breaker(account, s) }

// BreakerError implements [breakerReporter].
func (e *Engine) BreakerError(step, msg string, err error, account string) {
	e.metrics.errors.WithLabelValues(step).Inc()
	e.outage.failed(slog.LevelError, msg, err, "account", account)
}

// writeBreakers writes the newest state of each changed breaker to the journal.
func (e *Engine) writeBreakers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.breakers.Changes():
		}
		for try := 0; !e.breakers.Flush(ctx); try++ {
			if !e.scheduler.sleep(ctx, onboarding.Exponential(errorBase, errorCap, try)) {
				return
			}
		}
	}
}
