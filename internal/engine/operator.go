package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/schemas"
)

const (
	actionPoll = 500 * time.Millisecond    // how often intents are read
	actionPage = journal.MaxWaitingIntents // all of them: none waits behind those that are retried
)

// runOperatorActions executes operator actions until the run ends.
func (e *Engine) runOperatorActions(s phases) {
	entries := newTokenEntries()
	for failures := 0; ; {
		wait := actionPoll
		err := e.readActions(s, entries)
		switch {
		case s.draining(), errors.Is(err, journal.ErrClosed):
			return
		case err != nil:
			e.metrics.errors.WithLabelValues("pending_intents").Inc()
			e.outage.failed(slog.LevelError, "cannot read operator actions from the journal", err)
			wait = onboarding.Exponential(actionPoll, errorCap, failures)
			failures++
		default:
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.accept.Done():
			timer.Stop()
			return
		case <-e.journal.IntentsChanged():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// readActions reads the intents that can be executed now, and executes them in the order of
// their requests. An intent waits for earlier ones on the same operation or account.
func (e *Engine) readActions(s phases, entries *tokenEntries) error {
	skip, waiting := entries.skip(time.Now())
	list, err := e.journal.PendingIntents(s.accept, actionPage, skip)
	if err != nil {
		return err
	}
	entries.keep(skip, list)
	for _, i := range list {
		if subject := queueOf(i); !waiting[subject] {
			waiting[subject] = !e.executeAction(s, i, entries)
		}
	}
	return nil
}

// queueOf names the queue of an intent.
func queueOf(i journal.PendingIntent) string {
	if _, isMove := onboarding.MoveTarget(onboarding.Action(i.Act)); isMove {
		return moveSubject(i)
	}
	if onboarding.Action(i.Act) == onboarding.ActionImport {
		return "import/" + i.UUID.String() // waits for nothing
	}
	return onboarding.ActionSubject(i.Intent)
}

// executeAction executes or refuses an intent, and reports whether it has ended. If the
// journal fails, or the operation changed after it was read, the intent is read again
// later.
func (e *Engine) executeAction(s phases, i journal.PendingIntent, entries *tokenEntries) (ended bool) {
	if err := e.cfg.Keys.Verify(i.MAC, keyset.DomainIntent, i.Authentic()...); err != nil {
		return e.refuseForged(s, i, err)
	}
	acc, ok := e.accounts[i.Account]
	switch {
	case !ok:
		return e.refuse(s, i, onboarding.NewActionError(onboarding.ResultNotConfigured, ""))
	case i.Target == nil && i.Operation != uuid.Nil, i.ShopID == 0 != (i.Shop == ""):
		return e.refuseForged(s, i, keyset.ErrOpen)
	}
	if store, ok := onboarding.MoveTarget(onboarding.Action(i.Act)); ok {
		return e.moveCredentials(s, i, store, entries)
	}
	switch {
	case onboarding.Action(i.Act) == onboarding.ActionImport:
		return e.importShop(s, acc, i, entries)
	case i.Shop != "" && onboarding.Action(i.Act) == onboarding.ActionErase:
		return e.eraseShop(s, i, entries)
	case i.Shop != "":
		return e.actOnShop(s, i)
	case i.Target == nil:
		return e.actOnAccount(s, acc, i)
	}
	return e.actOnOperation(s, acc, i, entries)
}

func (e *Engine) actOnOperation(s phases, acc *account, i journal.PendingIntent, entries *tokenEntries) (ended bool) {
	if onboarding.Action(i.Act) == onboarding.ActionReissue {
		return e.reissue(s, i)
	}
	op := i.Target.ClaimedOperation
	if why := onboarding.CheckAction(onboarding.Action(i.Act), op.Kind, op.State, onboarding.Reason(op.Reason), op.Doubt); why != nil {
		return e.refuse(s, i, entries.named(i.ID, why))
	}
	row, _ := onboarding.ActionRuleOf(onboarding.Action(i.Act), onboarding.Reason(op.Reason), op.Kind)
	if row.Action == onboarding.ActionSetCredentials || row.Action == onboarding.ActionReread {
		e.setCredentials(s, acc, i, row, entries)
		return false
	}
	tr := e.transitionOf(i, row)
	if row.Action == onboarding.ActionClose {
		attention, _ := onboarding.AttentionOf(onboarding.Reason(op.Reason))
		// The code must not be sent again, also for another shop.
		tr.Doubt = attention.Executed
		var err error
		if tr.Publish, err = e.closeEvents(s, *i.Target, tr); err != nil {
			return e.refuseForged(s, i, err)
		}
	}
	ended, _ = e.commit(s, i, tr)
	return ended
}

// reissue queues the newest result of an operation again.
func (e *Engine) reissue(s phases, i journal.PendingIntent) (ended bool) {
	end := onboarding.EndAction(i.Intent, onboarding.ResultReissued, "", time.Now())
	end.Reissue = true
	err := e.journal.EndIntent(s.writes, end)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return e.refuse(s, i, onboarding.NewActionError(onboarding.ResultNoResult, ""))
	case err != nil:
		e.actionFailed(i, err)
		return false
	}
	e.actionEnded(i, end)
	return true
}

// transitionOf returns the transition of an intent's operation by the row of the
// action.
func (e *Engine) transitionOf(i journal.PendingIntent, row onboarding.ActionRule) journal.Transition {
	end := onboarding.EndAction(i.Intent, row.Result, "", time.Now())
	return journal.Transition{
		Ref: i.Target.Ref, From: journal.Attention, To: row.To, Reason: string(row.Why), NewRun: row.Run, Probe: row.Probe, Intent: &end,
	}
}

// commit makes the intent's transition. It returns an error only if the journal refused the
// credentials. It has already reported every other error.
func (e *Engine) commit(s phases, i journal.PendingIntent, tr journal.Transition) (ended bool, err error) {
	if !onboarding.Permitted(tr.From, tr.To) {
		panic(fmt.Sprintf("engine: no edge from %v to %v", tr.From, tr.To))
	}
	err = e.journal.Apply(s.writes, tr)
	switch {
	case err == nil:
		if tr.To == journal.Done {
			e.metrics.ended(i.Target.Kind, tr.To, onboarding.Reason(tr.Reason))
		}
		e.actionEnded(i, *tr.Intent)
		return true, nil
	case errors.Is(err, journal.ErrMerchantConflict), errors.Is(err, journal.ErrVersionTaken), errors.Is(err, journal.ErrOlderVersion):
		return false, err
	}
	e.actionFailed(i, err)
	return false, nil
}

// refuseForged refuses an action that is not authentic: its row was inserted or edited
// in the database, or a command used another keyset.
func (e *Engine) refuseForged(s phases, i journal.PendingIntent, err error) (ended bool) {
	return e.refuse(s, i, forgedError(err))
}

func forgedError(err error) *onboarding.ActionError {
	if errors.Is(err, keyset.ErrNoKey) {
		return onboarding.NewActionError(onboarding.ResultUnreadable, "")
	}
	return onboarding.NewActionError(onboarding.ResultNotAuthentic, "")
}

func (e *Engine) refuse(s phases, i journal.PendingIntent, why *onboarding.ActionError) (ended bool) {
	end := onboarding.EndRefused(i.Intent, why, time.Now())
	if err := e.journal.EndIntent(s.writes, end); err != nil {
		e.actionFailed(i, err)
		return false
	}
	if why.Result == onboarding.ResultNotAuthentic {
		e.log.Error("refused an operator action that is not authentic; nothing was changed", "table", "intent", "row", i.ID, "action", i.Act, "subject", onboarding.ActionSubject(i.Intent))
	}
	e.actionEnded(i, end)
	return true
}

// actionFailed logs that an intent is retried: its operation changed meanwhile, or the
// journal could not write.
func (e *Engine) actionFailed(i journal.PendingIntent, err error) {
	if errors.Is(err, journal.ErrStale) {
		e.log.Info("operator action is tried again: its operation or account changed meanwhile", "intent", i.UUID.String(), "action", i.Act)
		return
	}
	e.metrics.errors.WithLabelValues("end_intent").Inc()
	e.outage.failed(slog.LevelError, "cannot write the result of an operator action; trying again", err, "intent", i.UUID.String(), "action", i.Act)
}

func (e *Engine) actionEnded(i journal.PendingIntent, end journal.IntentEnd) {
	act := i.Act
	if row := onboarding.ResultOf(onboarding.Result(end.Result)); row.Result == onboarding.ResultUnknownAct {
		act = "unknown" // a label of a closed set
	}
	e.metrics.actions.WithLabelValues(act, end.Result).Inc()
	e.log.Info("operator action ended", "intent", i.UUID.String(), "action", i.Act, "actor", i.Actor, "subject", onboarding.ActionSubject(i.Intent),
		"state", end.State.String(), "result", end.Result)
}

// breakerActions are the commands on accounts.
var breakerActions = []struct {
	act    onboarding.Action
	signal breaker.Signal
	result onboarding.Result
}{
	{onboarding.ActionPause, breaker.SignalPause, onboarding.ResultPaused},
	{onboarding.ActionResume, breaker.SignalResume, onboarding.ResultResumed},
}

func (e *Engine) actOnAccount(s phases, acc *account, i journal.PendingIntent) (ended bool) {
	if err := e.breakers.Refresh(s.writes); err != nil {
		e.actionFailed(i, err)
		return false
	}
	if g := acc.breaker.Snapshot(); needsCheck(onboarding.Action(i.Act), g.Shared, g.BlockedOnly()) {
		return e.checkAccount(s, acc, i)
	}
	for _, row := range breakerActions {
		if string(row.act) == i.Act {
			return e.changeBreaker(s, acc, i, row.signal, row.result)
		}
	}
	return e.refuse(s, i, onboarding.NewActionError(onboarding.ResultUnknownAct, ""))
}

// changeBreaker changes an account's breaker, first in the journal together with the
// intent's end, then here.
func (e *Engine) changeBreaker(s phases, acc *account, i journal.PendingIntent, sig breaker.Signal, result onboarding.Result) (ended bool) {
	// An earlier action may have been written although the journal returned an error.
	if err := e.breakers.Refresh(s.writes); err != nil {
		e.actionFailed(i, err)
		return false
	}
	end := onboarding.EndAction(i.Intent, result, "", time.Now())
	g, changes, err := e.breakers.Change(acc.breaker, sig, time.Now(), func(g journal.Circuit) error {
		end.Circuit = &g
		return e.journal.EndIntent(s.writes, end)
	})
	switch {
	case !changes:
		return e.refuse(s, i, whyBreakerStays(g))
	case err != nil:
		e.actionFailed(i, err)
		return false
	}
	e.breakerChanged(acc)
	e.actionEnded(i, end)
	return true
}

// whyBreakerStays returns why an operator action does not change a breaker.
func whyBreakerStays(g journal.Circuit) *onboarding.ActionError {
	if g.State == journal.CircuitPaused {
		return onboarding.NewActionError(onboarding.ResultTokenOpens, "")
	}
	return onboarding.NewActionError(onboarding.ResultNotPaused, "")
}

// closeEvents makes the events that are published when an operator closes an operation.
// It returns an error if the shop's current credentials are not authentic.
func (e *Engine) closeEvents(s phases, x journal.Target, by journal.Transition) ([]journal.Draft, error) {
	now := by.Intent.Audit.At
	op := x.ClaimedOperation
	switch onboarding.CloseEventOf(onboarding.Reason(op.Reason), op.Kind, x.Current != nil) {
	case onboarding.PublishNothing:
		return nil, nil
	case onboarding.PublishCurrent:
		if _, err := e.cfg.Credentials.Read(s.writes, *x.Current); errors.Is(err, credentials.ErrUnreadable) {
			return nil, err
		}
		ref, err := schemas.ParseReference(x.Current.Reference)
		if err != nil {
			return nil, fmt.Errorf("%w: its reference is none", keyset.ErrOpen)
		}
		v := schemas.VerificationPending
		if x.CurrentVerified {
			v = schemas.VerificationVerified
		}
		return []journal.Draft{e.out.ActivatedAgain(op, *x.Current, ref, v, x.Active.At, now)}, nil
	}
	return []journal.Draft{e.out.FailedAgain(op, schemas.FailureClosed, now)}, nil
}
