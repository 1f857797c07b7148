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
	intentLook = 500 * time.Millisecond // how often a command's intent is looked for
	intentPage = 100
)

// performIntents performs what people ask for until the run ends.
func (p *Pool) performIntents(s scope) {
	entries := newEntries()
	for failures := 0; ; {
		wait := intentLook
		list, err := p.journal.PendingIntents(s.run, intentPage)
		switch {
		case s.draining(), errors.Is(err, journal.ErrClosed):
			return
		case err != nil:
			p.metrics.errors.WithLabelValues("pending_intents").Inc()
			p.outage.fails(slog.LevelError, "the journal does not tell what people ask for", err)
			wait = onboarding.Exponential(intentLook, errorCap, failures)
			failures++
		default:
			failures = 0
		}
		entries.keep(list)
		p.performAll(s, list, entries)
		timer := time.NewTimer(wait)
		select {
		case <-s.run.Done():
			timer.Stop()
			return
		case <-p.journal.IntentsChanged():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// performAll performs intents in the order in which they were asked for: what
// is about the same operation or account waits for what was asked before.
func (p *Pool) performAll(s scope, list []journal.PendingIntent, entries *entries) {
	waiting := make(map[string]bool)
	for _, i := range list {
		subject := onboarding.IntentSubject(i.Intent)
		if !waiting[subject] {
			waiting[subject] = !p.performIntent(s, i, entries)
		}
	}
}

// performIntent performs or refuses one, and tells whether it has ended. Where
// the journal fails, or the operation moved on since it was looked at, it waits
// for the next look.
func (p *Pool) performIntent(s scope, i journal.PendingIntent, entries *entries) (ended bool) {
	if err := p.cfg.Keys.Verify(i.MAC, keyset.DomainIntent, i.Authentic()...); err != nil {
		return p.refuseForged(s, i, err)
	}
	acc, ok := p.accounts[i.Account]
	switch {
	case !ok:
		return p.refuse(s, i, onboarding.Refuse(onboarding.ResultNotConfigured, ""))
	case i.Target == nil && i.Operation != uuid.Nil:
		return p.refuseForged(s, i, keyset.ErrOpen)
	case i.Target == nil:
		return p.actOnAccount(s, acc, i)
	}
	return p.actOnOperation(s, acc, i, entries)
}

func (p *Pool) actOnOperation(s scope, acc *account, i journal.PendingIntent, entries *entries) (ended bool) {
	op := i.Target.ClaimedOperation
	if why := onboarding.Permit(onboarding.Command(i.Act), op.Kind, op.State, onboarding.Reason(op.Reason), op.Doubt); why != nil {
		return p.refuse(s, i, why)
	}
	row, _ := onboarding.ActionRuleOf(onboarding.Command(i.Act), onboarding.Reason(op.Reason), op.Kind)
	if row.Action == onboarding.CommandEnter || row.Action == onboarding.CommandReread {
		p.enter(s, acc, i, row, entries)
		return false
	}
	tr := p.transitionOf(i, row)
	if row.Action == onboarding.CommandClose {
		attention, _ := onboarding.AttentionOf(onboarding.Reason(op.Reason))
		// Its code must not be sent again, whoever enters it.
		tr.Doubt = attention.Executed
		var err error
		if tr.Publish, err = p.closing(s, *i.Target, tr); err != nil {
			return p.refuseForged(s, i, err)
		}
	}
	ended, _ = p.commit(s, i, tr)
	return ended
}

// transitionOf is what a row of the acts makes of an intent's operation.
func (p *Pool) transitionOf(i journal.PendingIntent, row onboarding.ActionRule) journal.Transition {
	end := onboarding.EndIntent(i.Intent, row.Result, "", time.Now())
	return journal.Transition{
		Ref: i.Target.Ref, From: journal.Attention, To: row.To, Reason: string(row.Why), NewRun: row.Run, Probe: row.Probe, Intent: &end,
	}
}

// commit makes the intent's transition. The error is what the journal says about
// merchant and version; everything else has been dealt with.
func (p *Pool) commit(s scope, i journal.PendingIntent, tr journal.Transition) (ended bool, err error) {
	if !onboarding.Permitted(tr.From, tr.To) {
		panic(fmt.Sprintf("onboarding: no edge from %v to %v", tr.From, tr.To))
	}
	err = p.journal.Apply(s.work, tr)
	switch {
	case err == nil:
		if tr.To == journal.Done {
			p.metrics.ended(i.Target.Kind, tr.To, onboarding.Reason(tr.Reason))
		}
		p.intentEnded(i, *tr.Intent)
		return true, nil
	case errors.Is(err, journal.ErrMerchantConflict), errors.Is(err, journal.ErrVersionTaken), errors.Is(err, journal.ErrOlderVersion):
		return false, err
	}
	p.intentFailed(i, err)
	return false, nil
}

// refuseForged refuses an act that no command wrote so: its row was inserted or
// edited in the database, or a command used another keyset.
func (p *Pool) refuseForged(s scope, i journal.PendingIntent, err error) (ended bool) {
	return p.refuse(s, i, forged(err))
}

func forged(err error) *onboarding.Refusal {
	if errors.Is(err, keyset.ErrNoKey) {
		return onboarding.Refuse(onboarding.ResultUnreadable, "")
	}
	return onboarding.Refuse(onboarding.ResultNotAuthentic, "")
}

func (p *Pool) refuse(s scope, i journal.PendingIntent, why *onboarding.Refusal) (ended bool) {
	end := onboarding.EndIntent(i.Intent, why.Result, why.Words, time.Now())
	if err := p.journal.EndIntent(s.work, end); err != nil {
		p.intentFailed(i, err)
		return false
	}
	if why.Result == onboarding.ResultNotAuthentic {
		p.log.Error("an act that is not authentic was refused: nothing was changed", "table", "intent", "row", i.ID, "action", i.Act, "subject", onboarding.IntentSubject(i.Intent))
	}
	p.intentEnded(i, end)
	return true
}

// intentFailed is for an intent that the next look finds again, if it is still
// there: its operation moved on, or the journal did not write.
func (p *Pool) intentFailed(i journal.PendingIntent, err error) {
	if errors.Is(err, journal.ErrStale) {
		p.log.Info("what a person asked for is looked at again: something happened meanwhile", "intent", i.UUID.String(), "action", i.Act)
		return
	}
	p.metrics.errors.WithLabelValues("end_intent").Inc()
	p.outage.fails(slog.LevelError, "what a person asked for could not be written; it is tried again", err, "intent", i.UUID.String(), "action", i.Act)
}

func (p *Pool) intentEnded(i journal.PendingIntent, end journal.IntentEnd) {
	act := i.Act
	if row := onboarding.ResultOf(onboarding.Result(end.Result)); row.Result == onboarding.ResultUnknownAct {
		act = "unknown" // a label of a closed set
	}
	p.metrics.intents.WithLabelValues(act, end.Result).Inc()
	p.log.Info("a person acted", "intent", i.UUID.String(), "action", i.Act, "actor", i.Actor, "subject", onboarding.IntentSubject(i.Intent),
		"state", end.State.String(), "result", end.Result)
}

// gateActs are the commands on accounts.
var gateActs = []struct {
	act    onboarding.Command
	signal breaker.Signal
	result onboarding.Result
}{
	{onboarding.CommandPause, breaker.SignalPause, onboarding.ResultPaused},
	{onboarding.CommandResume, breaker.SignalResume, onboarding.ResultResumed},
}

func (p *Pool) actOnAccount(s scope, acc *account, i journal.PendingIntent) (ended bool) {
	if err := p.breakers.Refresh(s.work); err != nil {
		p.intentFailed(i, err)
		return false
	}
	if g := acc.gate.Snapshot(); needsCheck(onboarding.Command(i.Act), g.Shared, g.BlockedOnly()) {
		return p.checkAccount(s, acc, i)
	}
	for _, row := range gateActs {
		if string(row.act) == i.Act {
			return p.changeGate(s, acc, i, row.signal, row.result)
		}
	}
	return p.refuse(s, i, onboarding.Refuse(onboarding.ResultUnknownAct, ""))
}

// changeGate changes an account's gate: first in the journal, with the intent's
// end, then here.
func (p *Pool) changeGate(s scope, acc *account, i journal.PendingIntent, sig breaker.Signal, result onboarding.Result) (ended bool) {
	// An earlier act may have been written although the journal did not say so.
	if err := p.breakers.Refresh(s.work); err != nil {
		p.intentFailed(i, err)
		return false
	}
	end := onboarding.EndIntent(i.Intent, result, "", time.Now())
	g, changes, err := p.breakers.Change(acc.gate, sig, time.Now(), func(g journal.Gate) error {
		end.Gate = &g
		return p.journal.EndIntent(s.work, end)
	})
	switch {
	case !changes:
		return p.refuse(s, i, whyGateStays(g))
	case err != nil:
		p.intentFailed(i, err)
		return false
	}
	p.gateChanged(acc)
	p.intentEnded(i, end)
	return true
}

// whyGateStays says why a person's command does not change a gate.
func whyGateStays(g journal.Gate) *onboarding.Refusal {
	if g.State == journal.GatePaused {
		return onboarding.Refuse(onboarding.ResultTokenOpens, "")
	}
	return onboarding.Refuse(onboarding.ResultNotPaused, "")
}

// closing makes the events that are owed when a person closes an operation.
// An error says that the shop's current credentials are not authentic.
func (p *Pool) closing(s scope, x journal.Target, by journal.Transition) ([]journal.Draft, error) {
	now := by.Intent.Audit.At
	op := x.ClaimedOperation
	switch onboarding.CloseEventOf(onboarding.Reason(op.Reason), op.Kind, x.Current != nil) {
	case onboarding.PublishNothing:
		return nil, nil
	case onboarding.PublishCurrent:
		if _, err := p.cfg.Credentials.Read(s.work, *x.Current); errors.Is(err, credentials.ErrUnreadable) {
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
		return []journal.Draft{p.out.ActivatedAgain(op, *x.Current, ref, v, x.Active.At, now)}, nil
	}
	return []journal.Draft{p.out.FailedAgain(op, schemas.FailureClosed, now)}, nil
}
