package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// A transitionError is a failure to write a transition.
type transitionError struct {
	to      journal.State
	reason  string
	retried bool // an earlier attempt may have been written
	err     error
}

func (e *transitionError) Error() string {
	return fmt.Sprintf("engine: cannot write the transition to %v: %v", e.to, e.err)
}

func (e *transitionError) Unwrap() error { return e.err }

// errNotDurable: a received response was not saved.
var errNotDurable = errors.New("engine: the response was not saved")

// reportUnwritten logs once why an operation ended here without a transition.
func (e *Engine) reportUnwritten(s phases, t *task, err error) {
	var tr *transitionError
	switch {
	case errors.Is(err, errNotDurable):
		e.outage.failed(slog.LevelError, "a received response is not saved, and the journal is closed", err, t.attrs()...)
	case errors.As(err, &tr) && errors.Is(err, journal.ErrStale):
		level := slog.LevelWarn
		if tr.retried {
			level = slog.LevelInfo
		}
		e.log.Log(s.writes, level, "the claim has ended; another worker continues the operation", t.attrs("to", tr.to.String())...)
	case errors.As(err, &tr):
		e.outage.failed(slog.LevelError, "cannot write the outcome; the operation continues when its lease ends", tr.err, t.attrs("to", tr.to.String(), "reason", tr.reason)...)
	default:
		e.outage.failed(slog.LevelWarn, "the operation continues when its lease ends", err, t.attrs()...)
	}
}

// apply makes a transition of the task's operation. It retries errors of the journal
// until the lease nears its end. Every step is fenced, so a repeat of a step that was
// made returns ErrStale and does no harm. apply returns nil, or one of the journal's
// three verdicts, or the last error; then the lease ends and the work continues from
// its durable state.
func (e *Engine) apply(s phases, t *task, tr journal.Transition) error {
	tr.Ref = t.Ref
	if !onboarding.Permitted(tr.From, tr.To) {
		panic(fmt.Sprintf("engine: no edge from %v to %v", tr.From, tr.To))
	}
	if tr.End != nil && tr.Attempt == 0 {
		tr.Attempt = t.attempt
	}
	for try := 0; ; try++ {
		err := e.journal.Apply(s.writes, tr)
		switch {
		case err == nil:
			if tr.From != tr.To && (tr.To == journal.Done || tr.To == journal.Attention) {
				e.metrics.ended(t.Kind, tr.To, onboarding.Reason(tr.Reason))
				e.logAttention(t, tr)
			}
			return nil
		case errors.Is(err, journal.ErrMerchantConflict), errors.Is(err, journal.ErrVersionTaken), errors.Is(err, journal.ErrOlderVersion):
			return err
		case errors.Is(err, journal.ErrStale):
			if tr.End != nil {
				// The request has ended all the same: its end must be written, for its
				// permits and for work that waits for it.
				e.endAttempt(s, tr.Attempt, *tr.End)
			}
			return &transitionError{to: tr.To, reason: tr.Reason, retried: try > 0, err: err}
		}
		e.metrics.errors.WithLabelValues("apply").Inc()
		// The outcome of a request is known nowhere else, so the write is retried for
		// as long as an outage lasts.
		if tr.From == journal.Sending && journal.Waits(err) {
			if e.scheduler.sleep(s.writes, onboarding.Exponential(errorBase, errorCap, try)) {
				continue
			}
		}
		if errors.Is(err, journal.ErrClosed) || !e.pause(s.writes, t, try) {
			return &transitionError{to: tr.To, reason: tr.Reason, retried: try > 0, err: err}
		}
	}
}

// logAttention logs once that an operation is in attention.
func (e *Engine) logAttention(t *task, tr journal.Transition) {
	if tr.To != journal.Attention {
		return
	}
	attrs := t.attrs("reason", tr.Reason)
	if tr.End != nil && tr.End.Reason != "" {
		attrs = append(attrs, "cause", tr.End.Reason)
	}
	e.log.Warn(needsDecision, attrs...)
}

// needsDecision is the log message of every operation in attention.
const needsDecision = "operation needs an operator's decision; see operations show"

// pause waits before a write is retried. It returns false if no time is left.
func (e *Engine) pause(ctx context.Context, t *task, try int) bool {
	wait := onboarding.Exponential(errorBase, errorCap, try)
	if time.Until(t.leaseEnd) < wait {
		return false
	}
	return e.scheduler.sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// release makes a claimed operation, of which nothing can have been sent,
// available again.
func (e *Engine) release(s phases, t *task, why onboarding.Reason, due time.Time) error {
	return e.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Planned, Due: due, Reason: string(why)})
}

// cancelAttempt ends a durable attempt of which no byte was sent.
func (e *Engine) cancelAttempt(s phases, t *task, why onboarding.Reason) error {
	return e.apply(s, t, journal.Transition{From: journal.Sending, To: journal.Planned, Reason: string(why), End: &journal.AttemptEnd{
		NotSent: true, At: time.Now(), Outcome: invoicebox.NotExecuted.String(),
	}})
}

// rollbackAttempt is for a BeginAttempt whose result is not known. Nothing was written
// to Invoicebox, so the operation must not end as unknown. If a permit was taken, it
// becomes available again by itself.
func (e *Engine) rollbackAttempt(s phases, t *task) error {
	err := e.apply(s, t, journal.Transition{From: journal.Claimed, To: journal.Planned, Reason: string(onboarding.ReasonNotSent)})
	if errors.Is(err, journal.ErrStale) {
		return e.apply(s, t, journal.Transition{From: journal.Sending, To: journal.Planned, Reason: string(onboarding.ReasonNotSent)})
	}
	return err
}

// persistResponse saves a response and retries without a limit, because the response
// may contain the only copy of a token. Only a closed journal ends that.
func (e *Engine) persistResponse(s phases, t *task, r journal.Receipt) (mine bool, err error) {
	ctx := context.WithoutCancel(s.writes)
	for try := 0; ; try++ {
		state, mine, err := e.saveResponse(ctx, s, t, r)
		if try > 0 && (err == nil || errors.Is(err, journal.ErrClosed)) {
			e.outage.responseSaved()
		}
		if err == nil {
			if !mine {
				e.log.Warn("a response arrived after the lease of its operation had ended; it is saved", t.attrs("state", state.String())...)
			}
			return mine, nil
		}
		e.metrics.errors.WithLabelValues("save_response").Inc()
		if errors.Is(err, journal.ErrClosed) {
			return false, fmt.Errorf("%w: %w", errNotDurable, err)
		}
		e.outage.failed(slog.LevelDebug, "cannot save a received response yet", err, t.attrs()...)
		e.outage.responsePending(try == 0, err, t.attrs())
		e.scheduler.sleep(ctx, onboarding.Exponential(errorBase, errorCap, try))
	}
}

// saveResponse saves a response. The check of the token that it brings begins in the
// same commit.
func (e *Engine) saveResponse(ctx context.Context, s phases, t *task, r journal.Receipt) (state journal.State, mine bool, err error) {
	c, ok := e.newCheck(s, t)
	if !ok {
		return e.journal.SaveResponse(ctx, r)
	}
	state, mine, id, err := e.journal.SaveResponseAndBeginCheck(ctx, r, c.start)
	if err == nil && id != 0 {
		c.id = id
		t.check = c
	}
	return state, mine, err
}

// endAttempt writes the end of an attempt that ends without a transition. If the write
// fails, the permit becomes available again later, by itself.
func (e *Engine) endAttempt(s phases, id journal.AttemptID, end journal.AttemptEnd) {
	if err := e.journal.EndAttempt(s.writes, id, end); err != nil {
		e.metrics.errors.WithLabelValues("end_attempt").Inc()
		e.outage.failed(slog.LevelWarn, "cannot write the end of a request", err)
	}
}

// endOf returns the attempt's end by the exchange.
func endOf(x invoicebox.Exchange, v invoicebox.Classification) journal.AttemptEnd {
	return journal.AttemptEnd{
		Answered: x.HasStatus(), NotSent: !x.HasStatus() && x.Written == 0, At: x.Finished,
		Status: x.Status, Outcome: v.Outcome.String(), Code: v.Code, RequestID: x.RequestID, Reason: string(v.Reason),
	}
}

// attrs returns the log attributes that identify the operation.
func (t *task) attrs(more ...any) []any {
	return append([]any{
		"operation", t.UUID.String(), "kind", t.Kind.String(), "account", t.Shop.Account, "shop", t.Shop.Shop, "attempt", t.Attempts,
	}, more...)
}
