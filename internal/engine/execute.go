package engine

import (
	"errors"
	"log/slog"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// leaseMargin is the part of a lease that must remain for the writes after the call.
const leaseMargin = 250 * time.Millisecond

// storeRetry is how long an operation waits for a credential store that is not
// ready.
const storeRetry = 10 * time.Second

// activatingRetry is how long an invitation waits before it checks again whether its
// shop's activation has ended.
const activatingRetry = 5 * time.Second

// run executes a claimed operation and reports failed writes. A panic is a bug and ends
// the process: to continue with a broken invariant could spend a code. Durable work is
// resumed after the restart.
func (e *Engine) run(s phases, t *task) {
	defer e.end(t)
	s, span := e.startSpan(s, t)
	defer span.End()
	if err := e.execute(s, t); err != nil {
		e.reportUnwritten(s, t, err)
	}
}

// execute executes a claimed operation as far as possible. An error is a failed write;
// the operation then continues from its durable state when its lease ends.
func (e *Engine) execute(s phases, t *task) error {
	switch t.State {
	case journal.Claimed:
		return e.makeCall(s, t)
	case journal.Received:
		return e.resumeReceived(s, t)
	case journal.Stored:
		return e.resumeStored(s, t)
	case journal.Unknown:
		return e.resumeUnknown(s, t)
	case journal.Done, journal.Superseded, journal.Attention:
		return e.resumeLate(s, t)
	}
	return nil
}

// makeCall makes the one call that the operation is for.
func (e *Engine) makeCall(s phases, t *task) error {
	subject, ok, err := e.precheck(s, t)
	if !ok {
		return err
	}
	// At most 1.5 times as many operations have a recorded attempt as can call. An
	// attempt that gets no slot for its call in time is cancelled.
	ahead := e.scheduler.acquire(t.acc.attemptSlots, t.leaseEnd.Add(-e.callTime()), s.accept.Done())
	if ahead == nil {
		return e.release(s, t, e.notSentReason(s), time.Time{})
	}
	if t.trial && !e.breakers.ReserveTrial(s.writes, t.acc.breaker, e.callTime()) {
		ahead()
		return e.release(s, t, onboarding.ReasonCircuitOpen, time.Time{})
	}
	sent := time.Now()
	sendBy := sent.Add(e.cfg.sendBy())
	id, err := e.journal.BeginAttempt(s.writes, journal.AttemptStart{
		Ref: t.Ref, Attempt: t.Attempts + 1, Flagged: t.Doubt, Probe: t.probing(),
		SendBy: e.cfg.sendBy(), Deadline: e.cfg.sendBy() + e.cfg.RequestDeadline,
		Permits: []journal.Permit{t.acc.ledger, e.cfg.egress()},
		Address: e.addressRule(t),
	})
	e.sendDecided(t)
	if err != nil {
		ahead()
		err = e.onBeginAttemptError(s, t, err)
		e.releaseTrial(s, t)
		return err
	}
	t.attempt = id
	t.Attempts++
	place := e.scheduler.acquire(t.acc.callSlots, sendBy, s.accept.Done())
	// The breaker may have opened while the attempt waited.
	blocked := t.acc.breaker.Blocks(t.trial)
	if place == nil || blocked || s.draining() || !time.Now().Before(sendBy) {
		if place != nil {
			place()
		}
		ahead()
		why := e.notSentReason(s)
		if blocked {
			why = onboarding.ReasonCircuitOpen
		}
		err = e.cancelAttempt(s, t, why)
		e.releaseTrial(s, t)
		return err
	}
	x := e.exchange(s, t, invoicebox.CallOptions{SendBy: sendBy}, subject)
	if t.Kind == journal.Activate && x.Success() {
		place()
		ahead()
		return e.onActivationResponse(s, t, x)
	}
	// The breaker gets the result before the next call can take the slot. Only a
	// successful response to an invitation names one.
	v, invitation := invoicebox.ReadInvitation(x)
	e.reportToBreaker(t, x, v)
	place()
	ahead()
	return e.onResponse(s, t, x, v, invitation)
}

// callTime is what a call takes at most, from BeginAttempt to the write of its outcome.
func (e *Engine) callTime() time.Duration {
	return e.cfg.sendBy() + e.cfg.RequestDeadline + min(leaseMargin, (e.cfg.Lease-e.cfg.RequestDeadline)/8)
}

func (e *Engine) notSentReason(s phases) onboarding.Reason {
	if s.draining() {
		return onboarding.ReasonDrained
	}
	return onboarding.ReasonNotSent
}

// precheck checks everything that must hold before a request is sent, and decrypts the
// address or code. False: the operation has taken another transition.
func (e *Engine) precheck(s phases, t *task) (subject secret.String, ok bool, err error) {
	now := time.Now()
	switch {
	case t.Kind == journal.Invite && t.Active != nil:
		return subject, false, e.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Done, Reason: string(onboarding.ReasonAlreadyActive), Publish: []journal.Draft{
			e.out.Invited(t.ClaimedOperation, schemas.OutcomeAlreadyActive, "", t.Active.At, now),
		}})
	case t.Kind == journal.Invite && t.Activating:
		// The invitation may soon end as already active. Queued codes go first.
		return subject, false, e.apply(s, t, journal.Transition{
			From: journal.Claimed, To: journal.Planned, Behind: true, Due: now.Add(activatingRetry), Reason: string(onboarding.ReasonActivationFirst),
		})
	case e.tooOld(t, now):
		return subject, false, e.expire(s, t, journal.Claimed, nil, false)
	case t.probing() && t.Newer:
		// A newer code or address has the effect that the probe is for, and is not in
		// doubt.
		return subject, false, e.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Planned, Behind: true, Reason: string(onboarding.ReasonNewerFirst)})
	case s.draining():
		return subject, false, e.release(s, t, onboarding.ReasonDrained, time.Time{})
	case t.acc.breaker.Blocks(t.trial):
		return subject, false, e.release(s, t, onboarding.ReasonCircuitOpen, time.Time{})
	case time.Until(t.leaseEnd) < e.callTime():
		return subject, false, e.release(s, t, onboarding.ReasonNotSent, time.Time{})
	}
	if t.Kind == journal.Activate {
		if err := e.cfg.Credentials.Ready(s.calls, t.Shop); err != nil {
			e.outage.failed(slog.LevelWarn, "the credential store is not ready; the code is not sent", err, t.attrs()...)
			return subject, false, e.release(s, t, onboarding.ReasonStoreNotReady, now.Add(e.jitter(storeRetry)))
		}
	}
	subject, err = e.openSubject(t)
	switch {
	case errors.Is(err, keyset.ErrNoKey) && now.Sub(t.Planned) < keyWait:
		e.onMissingKey(t)
		return subject, false, e.release(s, t, onboarding.ReasonKeyMissing, now.Add(e.jitter(storeRetry)))
	case err != nil:
		e.log.Error("the stored address or code does not belong to the operation: its row was moved, edited or damaged", t.attrs("table", "event", "err", err)...)
		return subject, false, e.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Attention, Reason: string(onboarding.ReasonSubjectUnreadable)})
	}
	return subject, true, nil
}

// onBeginAttemptError handles a BeginAttempt that failed.
func (e *Engine) onBeginAttemptError(s phases, t *task, err error) error {
	var none *journal.NoPermitError
	var cool *journal.AddressCoolDownError
	switch {
	case errors.As(err, &cool):
		t.acc.missedInvitations.Add(10) // its turn was not used
		return e.delayForAddress(s, t, cool)
	case errors.As(err, &none):
		if t.Kind == journal.Invite {
			t.acc.missedInvitations.Add(10) // its turn was not used
		}
		return e.release(s, t, onboarding.ReasonNoPermit, none.Next)
	case errors.Is(err, journal.ErrStale):
		return &transitionError{to: journal.Sending, err: err}
	default:
		e.metrics.errors.WithLabelValues("begin_attempt").Inc()
		e.outage.failed(slog.LevelError, "cannot write the attempt; nothing is sent", err, t.attrs()...)
		return e.rollbackAttempt(s, t)
	}
}

// exchange makes the call.
func (e *Engine) exchange(s phases, t *task, a invoicebox.CallOptions, subject secret.String) invoicebox.Exchange {
	t.acc.calling.Inc()
	defer t.acc.calling.Dec()
	if t.Kind == journal.Invite {
		return t.acc.Client.Invite(s.calls, a, subject)
	}
	return t.acc.Client.Activate(s.calls, a, subject)
}

// onResponse makes the transition of a response.
func (e *Engine) onResponse(s phases, t *task, x invoicebox.Exchange, v invoicebox.Classification, invitation invoicebox.Invitation) error {
	now := time.Now()
	e.logOutcome(s, t, x, v)
	row := onboarding.ResponseRuleOf(t.Kind, v, x.Status, t.Doubt)
	end := endOf(x, v)
	if row.To == journal.Waiting {
		return e.delay(s, t, row, v, end, now)
	}
	tr := journal.Transition{From: row.From, To: row.To, Reason: string(row.Reason), Doubt: v.Doubt, End: &end}
	switch {
	case row.To == journal.Unknown:
		// The operation holds the lane until no later request can overtake its own.
		tr.Due = maxTime(t.leaseEnd, x.Finished).Add(e.cfg.QuietPeriod)
	case row.Invited != "":
		// The e-mail is sent: older invitations in doubt are not needed any more.
		tr.Supersede, tr.Over = string(onboarding.ReasonNewerAddress), onboarding.SupersedableReasons()
	}
	if row.Mark {
		tr.Invited = &journal.InvitedUpdate{At: x.Finished, InvitationID: invitation.ID}
		if row.Invited != "" {
			tr.Invited.Remind = e.firstReminder(x.Finished)
			tr.Publish = append(tr.Publish, e.out.Invited(t.ClaimedOperation, row.Invited, invitation.ID, x.Finished, now))
		}
	}
	if row.Failed != "" {
		tr.Publish = append(tr.Publish, e.out.Failed(t.ClaimedOperation, row.Failed, now))
	}
	return e.apply(s, t, tr)
}

// delay delays an operation that was not, or probably not, executed.
func (e *Engine) delay(s phases, t *task, row onboarding.ResponseRule, v invoicebox.Classification, end journal.AttemptEnd, now time.Time) error {
	due := now.Add(e.backoff(t, v))
	if e.tooOld(t, due) {
		return e.expire(s, t, row.From, &end, v.Doubt)
	}
	return e.apply(s, t, journal.Transition{From: row.From, To: row.To, Due: due, Reason: string(row.Reason), Doubt: v.Doubt, End: &end})
}

// backoff is the time that the response asked for, within bounds, else exponential with
// full jitter.
func (e *Engine) backoff(t *task, v invoicebox.Classification) time.Duration {
	wait := e.retryAfter(t.acc, v)
	if wait > 0 {
		return wait
	}
	return time.Duration(e.scheduler.rand(int64(onboarding.Exponential(e.cfg.WaitBase, e.cfg.WaitCap, t.Waits)))) + 1
}

// retryAfter is how long the response asks to wait. A 429 without a time means one
// window.
func (e *Engine) retryAfter(acc *account, v invoicebox.Classification) time.Duration {
	wait := min(v.RetryAfter, e.cfg.LimitCap)
	if wait == 0 && v.Outcome == invoicebox.Limited {
		wait = min(acc.Window, e.cfg.LimitCap)
	}
	return wait
}

func (e *Engine) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(e.scheduler.rand(int64(d/2)+1))
}

// tooOld reports whether a run will have waited too long at an instant. The time for
// which the account was closed does not count.
func (e *Engine) tooOld(t *task, at time.Time) bool {
	return !t.Planned.IsZero() && at.Sub(t.Planned)-t.CircuitOpen > e.cfg.MaximumAge
}

// expire ends an operation that could not be executed in time. Its event says that
// nothing was executed, so an operation in doubt goes to attention instead.
func (e *Engine) expire(s phases, t *task, from journal.State, end *journal.AttemptEnd, doubt bool) error {
	now := time.Now()
	tr := journal.Transition{From: from, To: journal.Done, Reason: string(onboarding.ReasonExpired), Doubt: doubt, End: end}
	if t.Doubt || doubt {
		tr.To, tr.Reason = journal.Attention, string(onboarding.ReasonOutcomeUnknown)
		tr.Publish = e.out.OfAttention(t.ClaimedOperation, onboarding.ReasonOutcomeUnknown, now)
	} else {
		tr.Publish = []journal.Draft{e.out.Failed(t.ClaimedOperation, schemas.FailureExpired, now)}
	}
	return e.apply(s, t, tr)
}

// reportToBreaker reports the signal of a response to the account's breaker.
func (e *Engine) reportToBreaker(t *task, x invoicebox.Exchange, v invoicebox.Classification) {
	now := time.Now()
	s := breaker.SignalOf(t.Kind, v, x.Status)
	t.acc.breaker.RecordFault(s, v.Reason)
	changed := t.acc.breaker.RecordShop(t.Shop.Shop, s, e.retryAfter(t.acc, v), t.trial, now)
	if v.RateLimitReset > 0 {
		changed = t.acc.breaker.Record(breaker.SignalRateLimitExhausted, v.RateLimitReset, t.trial, now) || changed
	}
	if changed {
		e.breakerChanged(t.acc)
	}
}

// reportActivation reports to the account's breaker whether the response of an activation
// could be used.
func (e *Engine) reportActivation(t *task, s breaker.Signal) {
	if t.acc.breaker.RecordShop(t.Shop.Shop, s, 0, t.trial, time.Now()) {
		e.breakerChanged(t.acc)
	}
	if e.capacityExhausted.Load() {
		e.signal() // more activations may be in flight now
	}
}

func (e *Engine) logOutcome(s phases, t *task, x invoicebox.Exchange, v invoicebox.Classification) {
	took := x.Finished.Sub(x.Started)
	e.metrics.called(s.writes, x.Operation.String(), v.Outcome.String(), took)
	traceOutcome(s.writes, t, v)
	if !e.log.Enabled(s.writes, slog.LevelInfo) {
		return
	}
	e.log.Info("called Invoicebox", t.attrs("run", t.Run, "probe", t.probing(), "status", x.Status, "outcome", v.Outcome.String(), "reason", string(v.Reason),
		"code", v.Code, "detail", x.Detail(), "request_id", x.RequestID, "duration_ms", took.Milliseconds())...)
}
