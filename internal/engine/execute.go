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

// leaseMargin is what has to be left of a lease, beside the call, for the
// writes after it.
const leaseMargin = 250 * time.Millisecond

// storeRetry is how long an operation waits for a credential store that is not
// ready.
const storeRetry = 10 * time.Second

// activatingRetry is how long an invitation waits for the end of its shop's
// activation before it looks again.
const activatingRetry = 5 * time.Second

// perform carries a claimed operation as far as it goes. A panic is a bug, and
// is left to end the process: what is durable is taken up again after the
// restart, and going on with a broken invariant could spend a code.
func (p *Pool) perform(s scope, t *task) {
	defer p.end(t)
	switch t.State {
	case journal.Claimed:
		p.call(s, t)
	case journal.Received:
		p.settleReceived(s, t)
	case journal.Stored:
		p.settleStored(s, t)
	case journal.Unknown:
		p.settleUnknown(s, t)
	case journal.Done, journal.Superseded, journal.Attention:
		p.settleLate(s, t)
	}
}

// call makes the one call that the operation is for.
func (p *Pool) call(s scope, t *task) {
	subject, ok := p.prepare(s, t)
	if !ok {
		return
	}
	// Only half as many again as can call are made durable: one that gets no
	// place for its call in time has to be taken back.
	ahead := p.steps.take(t.acc.ahead, t.leaseEnd.Add(-p.callTime()), s.run.Done())
	if ahead == nil {
		p.giveBack(s, t, p.whyNotSent(s), time.Time{})
		return
	}
	if t.trial && !p.breakers.ReserveTrial(s.work, t.acc.gate, p.callTime()) {
		ahead()
		p.giveBack(s, t, onboarding.ReasonGateClosed, time.Time{})
		return
	}
	sent := time.Now()
	sendBy := sent.Add(p.cfg.sendBy())
	id, err := p.journal.BeginAttempt(s.work, journal.AttemptStart{
		Ref: t.Ref, Attempt: t.Attempts + 1, Flagged: t.Doubt, Probe: t.probing(),
		SendBy: p.cfg.sendBy(), Deadline: p.cfg.sendBy() + p.cfg.RequestDeadline,
		Permits: []journal.Permit{t.acc.ledger, p.cfg.egress()},
		Address: p.addressRule(t),
	})
	p.sentOrEnded(t)
	if err != nil {
		ahead()
		p.notSent(s, t, err)
		p.leavesTrial(s, t)
		return
	}
	t.attempt = id
	t.Attempts++
	place := p.steps.take(t.acc.calls, sendBy, s.run.Done())
	// The gate may have closed while the attempt waited.
	closed := t.acc.gate.Closed(t.trial)
	if place == nil || closed || s.draining() || !time.Now().Before(sendBy) {
		if place != nil {
			place()
		}
		ahead()
		why := p.whyNotSent(s)
		if closed {
			why = onboarding.ReasonGateClosed
		}
		p.unsend(s, t, why)
		p.leavesTrial(s, t)
		return
	}
	x := p.exchange(s, t, invoicebox.Attempt{SendBy: sendBy}, subject)
	if t.Kind == journal.Activate && x.Success() {
		place()
		ahead()
		p.received(s, t, x)
		return
	}
	// The gate learns of it before the next call can take the place.
	v := invoicebox.Classify(x)
	p.tell(t, x, v)
	place()
	ahead()
	p.answered(s, t, x, v)
}

// callTime is what a call takes at most, from BeginAttempt to the write of its outcome.
func (p *Pool) callTime() time.Duration {
	return p.cfg.sendBy() + p.cfg.RequestDeadline + min(leaseMargin, (p.cfg.Lease-p.cfg.RequestDeadline)/8)
}

func (p *Pool) whyNotSent(s scope) onboarding.Reason {
	if s.draining() {
		return onboarding.ReasonDrained
	}
	return onboarding.ReasonNotSent
}

// prepare passes an operation through all that has to hold before anything is
// sent, and opens its address or code. False: it went another way.
func (p *Pool) prepare(s scope, t *task) (subject secret.String, ok bool) {
	now := time.Now()
	switch {
	case t.Kind == journal.Invite && t.Active != nil:
		_ = p.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Done, Reason: string(onboarding.ReasonAlreadyActive), Publish: []journal.Draft{
			p.out.Invited(t.ClaimedOperation, schemas.OutcomeAlreadyActive, "", t.Active.At, now),
		}})
		return subject, false
	case t.Kind == journal.Invite && t.Activating:
		// It may end as already active in a moment. Codes that are queued go first.
		_ = p.apply(s, t, journal.Transition{
			From: journal.Claimed, To: journal.Planned, Behind: true, Due: now.Add(activatingRetry), Reason: string(onboarding.ReasonActivationFirst),
		})
		return subject, false
	case p.overAge(t, now):
		p.expired(s, t, journal.Claimed, nil, false)
		return subject, false
	case t.probing() && t.Newer:
		// A newer code or address can do what the probe is for, without doubt.
		_ = p.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Planned, Behind: true, Reason: string(onboarding.ReasonNewerFirst)})
		return subject, false
	case s.draining():
		p.giveBack(s, t, onboarding.ReasonDrained, time.Time{})
		return subject, false
	case t.acc.gate.Closed(t.trial):
		p.giveBack(s, t, onboarding.ReasonGateClosed, time.Time{})
		return subject, false
	case time.Until(t.leaseEnd) < p.callTime():
		p.giveBack(s, t, onboarding.ReasonNotSent, time.Time{})
		return subject, false
	}
	if t.Kind == journal.Activate {
		if err := p.cfg.Credentials.Ready(s.calls, t.Shop); err != nil {
			p.outage.fails(slog.LevelWarn, "the credential store is not ready: the code is not spent", err, t.attrs()...)
			p.giveBack(s, t, onboarding.ReasonStoreNotReady, now.Add(p.jitter(storeRetry)))
			return subject, false
		}
	}
	subject, err := p.openSubject(t)
	switch {
	case errors.Is(err, keyset.ErrNoKey) && now.Sub(t.Planned) < keyWait:
		p.lacksKey(t)
		p.giveBack(s, t, onboarding.ReasonKeyMissing, now.Add(p.jitter(storeRetry)))
		return subject, false
	case err != nil:
		p.log.Error("the stored address or code is not the operation's: moved or edited in the database, or damaged", t.attrs("table", "event", "err", err)...)
		_ = p.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Attention, Reason: string(onboarding.ReasonSubjectUnreadable)})
		return subject, false
	}
	return subject, true
}

// notSent sorts out a BeginAttempt that did not succeed.
func (p *Pool) notSent(s scope, t *task, err error) {
	var none *journal.NoPermitError
	var cool *journal.AddressCoolDownError
	switch {
	case errors.As(err, &cool):
		t.acc.owed.Add(10) // its turn was not used
		p.cools(s, t, cool)
	case errors.As(err, &none):
		if t.Kind == journal.Invite {
			t.acc.owed.Add(10) // its turn was not used
		}
		p.giveBack(s, t, onboarding.ReasonNoPermit, none.Next)
	case errors.Is(err, journal.ErrStale):
		p.log.Warn("the operation is not this worker's any more", t.attrs("to", journal.Sending.String())...)
	default:
		p.metrics.errors.WithLabelValues("begin_attempt").Inc()
		p.outage.fails(slog.LevelError, "the attempt could not be made durable: nothing is sent", err, t.attrs()...)
		p.undoSend(s, t)
	}
}

// exchange is the call itself.
func (p *Pool) exchange(s scope, t *task, a invoicebox.Attempt, subject secret.String) invoicebox.Exchange {
	t.acc.calling.Inc()
	defer t.acc.calling.Dec()
	if t.Kind == journal.Invite {
		return t.acc.Client.Invite(s.calls, a, subject)
	}
	return t.acc.Client.Activate(s.calls, a, subject)
}

// answered takes an operation where its answer says.
func (p *Pool) answered(s scope, t *task, x invoicebox.Exchange, v invoicebox.Verdict) {
	now := time.Now()
	p.logOutcome(s, t, x, v)
	row := onboarding.OutcomeOf(t.Kind, v, x.Status, t.Doubt)
	end := endOf(x, v)
	if row.To == journal.Waiting {
		p.wait(s, t, row, v, end, now)
		return
	}
	tr := journal.Transition{From: row.From, To: row.To, Reason: string(row.Reason), Doubt: v.Doubt, End: &end}
	switch {
	case row.To == journal.Unknown:
		// The lane is held until nothing can overtake what is on its way.
		tr.Due = maxTime(t.leaseEnd, x.Finished).Add(p.cfg.QuietPeriod)
	case row.Invited != "":
		// An e-mail is on its way: what is older and in doubt needs none any more.
		tr.Supersede, tr.Over = string(onboarding.ReasonNewerAddress), onboarding.SupersedableReasons()
	}
	if row.Mark {
		invitation, _ := invoicebox.ParseInvitation(x)
		tr.Invited = &journal.InvitedUpdate{At: x.Finished, InvitationID: invitation.ID}
		if row.Invited != "" {
			tr.Publish = append(tr.Publish, p.out.Invited(t.ClaimedOperation, row.Invited, invitation.ID, x.Finished, now))
		}
	}
	if row.Failed != "" {
		tr.Publish = append(tr.Publish, p.out.Failed(t.ClaimedOperation, row.Failed, now))
	}
	_ = p.apply(s, t, tr)
}

// wait puts an operation off that was not, or probably not, executed.
func (p *Pool) wait(s scope, t *task, row onboarding.OutcomeRule, v invoicebox.Verdict, end journal.AttemptEnd, now time.Time) {
	due := now.Add(p.waitTime(t, v))
	if p.overAge(t, due) {
		p.expired(s, t, row.From, &end, v.Doubt)
		return
	}
	_ = p.apply(s, t, journal.Transition{From: row.From, To: row.To, Due: due, Reason: string(row.Reason), Doubt: v.Doubt, End: &end})
}

// waitTime is as long as the answer asked for, within bounds, or else
// exponential with full jitter.
func (p *Pool) waitTime(t *task, v invoicebox.Verdict) time.Duration {
	told := p.told(t.acc, v)
	if told > 0 {
		return told
	}
	return time.Duration(p.steps.lot(int64(onboarding.Exponential(p.cfg.WaitBase, p.cfg.WaitCap, t.Waits)))) + 1
}

// told is how long the answer asks to wait; a 429 that does not say means one
// window.
func (p *Pool) told(acc *account, v invoicebox.Verdict) time.Duration {
	told := min(v.RetryAfter, p.cfg.LimitCap)
	if told == 0 && v.Class == invoicebox.Limited {
		told = min(acc.Window, p.cfg.LimitCap)
	}
	return told
}

func (p *Pool) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(p.steps.lot(int64(d/2)+1))
}

// overAge tells whether a run will have waited too long at an instant; the time
// for which the account was closed does not count.
func (p *Pool) overAge(t *task, at time.Time) bool {
	return !t.Planned.IsZero() && at.Sub(t.Planned)-t.GateClosed > p.cfg.MaximumAge
}

// expired ends an operation that could not be executed in time. The event says
// that nothing was executed, so one in doubt goes to a person instead.
func (p *Pool) expired(s scope, t *task, from journal.State, end *journal.AttemptEnd, doubt bool) {
	now := time.Now()
	tr := journal.Transition{From: from, To: journal.Done, Reason: string(onboarding.ReasonExpired), Doubt: doubt, End: end}
	if t.Doubt || doubt {
		tr.To, tr.Reason = journal.Attention, string(onboarding.ReasonOutcomeUnknown)
		tr.Publish = p.out.OfAttention(t.ClaimedOperation, onboarding.ReasonOutcomeUnknown, now)
	} else {
		tr.Publish = []journal.Draft{p.out.Failed(t.ClaimedOperation, schemas.FailureExpired, now)}
	}
	_ = p.apply(s, t, tr)
}

// tell lets the account's gate know what the answer says of the account.
func (p *Pool) tell(t *task, x invoicebox.Exchange, v invoicebox.Verdict) {
	now := time.Now()
	s := breaker.SignalOf(t.Kind, v, x.Status)
	t.acc.gate.RecordFault(s, v.Reason)
	changed := t.acc.gate.RecordShop(t.Shop.Shop, s, p.told(t.acc, v), t.trial, now)
	if v.Drained > 0 {
		changed = t.acc.gate.Record(breaker.SignalRateLimitExhausted, v.Drained, t.trial, now) || changed
	}
	if changed {
		p.gateChanged(t.acc)
	}
}

// tellShop lets the account's gate know what became of an activation's answer.
func (p *Pool) tellShop(t *task, s breaker.Signal) {
	if t.acc.gate.RecordShop(t.Shop.Shop, s, 0, t.trial, time.Now()) {
		p.gateChanged(t.acc)
	}
	if p.hungry.Load() {
		p.signal() // more activations may be in flight now
	}
}

func (p *Pool) logOutcome(s scope, t *task, x invoicebox.Exchange, v invoicebox.Verdict) {
	took := x.Finished.Sub(x.Started)
	p.metrics.called(x.Operation.String(), v.Class.String(), took)
	if !p.log.Enabled(s.work, slog.LevelInfo) {
		return
	}
	p.log.Info("called Invoicebox", t.attrs("run", t.Run, "probe", t.probing(), "status", x.Status, "outcome", v.Class.String(), "reason", string(v.Reason),
		"code", v.Code, "detail", x.Detail(), "request_id", x.RequestID, "duration_ms", took.Milliseconds())...)
}
