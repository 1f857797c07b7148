package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// maxConcurrentEntries bounds how many actions of one kind, such as imports, run
// concurrently. The kinds do not wait for each other.
const maxConcurrentEntries = 8

// ValidateEntered checks that merchant id and token have the form that Invoicebox uses.
// The error never contains the token.
func ValidateEntered(merchantID string, token secret.String) error {
	_, err := enteredResponse(merchantID, token, time.Time{})
	return err
}

// enteredResponse is the response that an operator enters. It is stored and parsed as
// the response of an activation, but no request was written for it.
func enteredResponse(merchantID string, token secret.String, at time.Time) (invoicebox.Exchange, error) {
	var answer struct {
		Data struct {
			MerchantID string `json:"merchantId"`
			Token      string `json:"token"`
		} `json:"data"`
	}
	answer.Data.MerchantID, answer.Data.Token = merchantID, token.Reveal()
	body, err := json.Marshal(answer)
	if err != nil {
		return invoicebox.Exchange{}, errors.New("engine: merchant id and token are not UTF-8")
	}
	x := invoicebox.Exchange{Operation: invoicebox.Activate, Status: 200, Body: body, BodyComplete: true, Started: at, Finished: at}
	_, err = invoicebox.ParseActivation(x)
	return x, err
}

// tokenEntries are the entered tokens that are being checked. They need not be durable:
// the intent stays in the journal until it ends.
type tokenEntries struct {
	mu   sync.Mutex
	list map[int64]*tokenEntry
}

type tokenEntry struct {
	act   string
	queue string
	busy  bool
	since time.Time // of the first check; zero before it
	next  time.Time // of the next
	tries int
	// uncommitted is a secret that was written to the credential store for the action, and
	// that the journal has not committed.
	uncommitted *journal.Credential
}

func newTokenEntries() *tokenEntries { return &tokenEntries{list: make(map[int64]*tokenEntry)} }

// skip returns the intents that begin would refuse now, and their queues. Skipping them
// keeps the read cheap: a read of the maximum number of waiting intents takes tens of
// milliseconds.
func (e *tokenEntries) skip(now time.Time) (ids []int64, queues map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	used, queues := make(map[string]int), make(map[string]bool)
	for _, x := range e.list {
		if x.busy {
			used[x.act]++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(e.list)) {
		x := e.list[id]
		if !x.busy && !now.Before(x.next) && used[x.act] < maxConcurrentEntries {
			used[x.act]++
			continue
		}
		ids = append(ids, id)
		queues[x.queue] = true
	}
	return ids, queues
}

// keep removes the entries of ended intents: those that were not skipped and do not wait.
func (e *tokenEntries) keep(skipped []int64, waiting []journal.PendingIntent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	there := make(map[int64]bool, len(skipped)+len(waiting))
	for _, id := range skipped {
		there[id] = true
	}
	for _, i := range waiting {
		there[i.ID] = true
	}
	for id, x := range e.list {
		if !there[id] && !x.busy {
			delete(e.list, id)
		}
	}
}

// begin reports whether an intent's token must be checked now, and when the first check
// was.
func (e *tokenEntries) begin(i journal.PendingIntent, now time.Time) (since time.Time, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	busy := 0
	for _, x := range e.list {
		if x.busy && x.act == i.Act {
			busy++
		}
	}
	x := e.list[i.ID]
	if x == nil {
		x = &tokenEntry{act: i.Act, queue: queueOf(i)}
		e.list[i.ID] = x
	}
	if x.busy || busy >= maxConcurrentEntries || now.Before(x.next) {
		return time.Time{}, false
	}
	x.busy = true
	if x.since.IsZero() {
		x.since = now
	}
	return x.since, true
}

// end sets the time of the next check. If the intent has ended, there is none, and the
// next intents of its queue do not wait.
func (e *tokenEntries) end(id int64, ended bool, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ended {
		delete(e.list, id)
		return
	}
	x := e.list[id]
	x.busy, x.next = false, now.Add(onboarding.Exponential(firstRecheck, lastRecheck, x.tries))
	x.tries++
}

// uncommitted returns the uncommitted secret of an action, or nil.
func (e *tokenEntries) uncommitted(id int64) *journal.Credential {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.list[id]; x != nil {
		return x.uncommitted
	}
	return nil
}

// named adds the uncommitted secret of an action to the error with which it is refused.
// The secret is not destroyed, because an action on the same operation can have adopted
// and committed it: a store knows a secret by the operation.
func (e *tokenEntries) named(id int64, why *onboarding.ActionError) *onboarding.ActionError {
	if c := e.uncommitted(id); c != nil {
		return why.StoredAt(c.Reference)
	}
	return why
}

func (e *tokenEntries) setUncommitted(id int64, c *journal.Credential) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list[id].uncommitted = c
}

// setCredentials handles merchant id and token as a received response. It checks the
// token, and then writes everything in one commit. It runs concurrently with the other
// intents, which do not wait for Invoicebox.
func (e *Engine) setCredentials(s phases, acc *account, i journal.PendingIntent, row onboarding.ActionRule, entries *tokenEntries) {
	e.executeBeside(i, entries, func(since time.Time) bool { return e.executeSetCredentials(s, acc, i, row, entries, since) })
}

// executeBeside executes an action concurrently with the others, unless it is executed
// already or must wait. Since is when it was executed first.
func (e *Engine) executeBeside(i journal.PendingIntent, entries *tokenEntries, execute func(since time.Time) (ended bool)) {
	since, ok := entries.begin(i, time.Now())
	if !ok {
		return
	}
	e.background(func() {
		ended := false
		defer func() { entries.end(i.ID, ended, time.Now()) }()
		ended = execute(since)
	})
}

func (e *Engine) executeSetCredentials(s phases, acc *account, i journal.PendingIntent, row onboarding.ActionRule, entries *tokenEntries, since time.Time) (ended bool) {
	refuse := func(why *onboarding.ActionError) bool { return e.refuse(s, i, entries.named(i.ID, why)) }
	now := time.Now()
	op := i.Target.ClaimedOperation
	s, span := e.startRoot(s, i.Act, op.Shop.Account, op.Shop.Shop, tracing.Event{TraceParent: op.TraceParent, Shop: op.Shop.Shop, ID: op.EventID})
	defer span.End()
	op.Run++
	x, act, why := e.responseOf(i, row, now)
	if why == nil && e.isOwnToken(act.Token) {
		why = onboarding.NewActionError(onboarding.ResultOwnToken, "")
	}
	if why != nil {
		return refuse(why)
	}
	t := &task{ClaimedOperation: op, acc: acc, leaseEnd: now.Add(e.cfg.Lease)}
	verdict, check := e.checkToken(s, t, act.Token)
	e.saveCheckEnd(s, check)
	switch {
	case verdict == tokenBad:
		return refuse(onboarding.NewActionError(onboarding.ResultTokenRefused, ""))
	case verdict == tokenSilent && e.overdue(s, since):
		return refuse(onboarding.NewActionError(onboarding.ResultTokenUnanswered, ""))
	case verdict == tokenSilent:
		return false // retried later
	}
	tr, why := e.credentialsTransition(s, i, row, entries, op, act, x)
	switch {
	case why != nil && why.Result == onboarding.ResultStoreUnavailable && !e.overdue(s, since):
		return false // retried later
	case why != nil:
		return refuse(why)
	case tr == nil:
		return false
	}
	ended, err := e.commit(s, i, *tr)
	switch {
	case ended && row.Action == onboarding.ActionReread:
		// Responses of that form can be used now.
		e.reportActivation(t, breaker.SignalUsable)
	case errors.Is(err, journal.ErrMerchantConflict):
		return refuse(onboarding.NewActionError(onboarding.ResultMerchantConflict, ""))
	case err != nil:
		e.actionFailed(i, fmt.Errorf("%w: %w", journal.ErrStale, err))
	}
	return ended
}

// overdue reports whether an action that was begun at a time is not retried any more.
func (e *Engine) overdue(s phases, since time.Time) bool {
	return !s.draining() && time.Since(since) >= e.cfg.VerifyFor
}

// responseOf returns the response of an action: the one that an operator entered, or
// the stored one as this version parses it.
func (e *Engine) responseOf(i journal.PendingIntent, row onboarding.ActionRule, now time.Time) (x invoicebox.Exchange, act invoicebox.Activation, why *onboarding.ActionError) {
	if row.Action == onboarding.ActionReread {
		x, err := e.openResponse(i.Target.Shop, i.Target.Receipt)
		if errors.Is(err, keyset.ErrOpen) {
			return x, act, forgedError(err)
		}
		if err == nil {
			act, err = invoicebox.ParseActivation(x)
		}
		if err != nil {
			return x, act, onboarding.NewActionError(onboarding.ResultStillUnreadable, "")
		}
		return x, act, nil
	}
	given, err := e.openEntered(i)
	if err != nil {
		return x, act, forgedError(err)
	}
	if x, err = enteredResponse(i.MerchantID, given, now); err == nil {
		act, err = invoicebox.ParseActivation(x)
	}
	if err != nil {
		return x, act, onboarding.NewActionError(onboarding.ResultInvalid, "")
	}
	return x, act, nil
}

// isOwnToken reports whether a token is one of the partner's own. Such a token passes
// every check, and a subscriber that resolves a shop's reference must not get it.
func (e *Engine) isOwnToken(token secret.String) bool {
	for _, acc := range e.accounts {
		if acc.OwnToken != nil && acc.OwnToken().Equal(token) {
			return true
		}
	}
	return false
}

// credentialsTransition returns the transition by which an entered token becomes the
// shop's; nil if the action must be retried.
func (e *Engine) credentialsTransition(
	s phases, i journal.PendingIntent, row onboarding.ActionRule, entries *tokenEntries, op journal.ClaimedOperation, act invoicebox.Activation, x invoicebox.Exchange,
) (*journal.Transition, *onboarding.ActionError) {
	prepared, err := e.cfg.Credentials.Prepare(s.writes, credentials.Secret{
		Shop: op.Shop, Version: op.NextVersion, Operation: op.UUID, MerchantID: act.MerchantID, Token: act.Token,
	})
	switch {
	case errors.Is(err, credentials.ErrInvalid):
		return nil, onboarding.NewActionError(onboarding.ResultInvalid, "")
	case errors.Is(err, credentials.ErrConflict):
		e.log.Error("the credential store has a foreign secret at the path of the entered one", "intent", i.UUID.String(), "err", err)
		return nil, onboarding.NewActionError(onboarding.ResultStoreConflict, "")
	case err != nil:
		e.log.Error("cannot write the entered secret to the credential store", "intent", i.UUID.String(), "err", err)
		return nil, onboarding.NewActionError(onboarding.ResultStoreUnavailable, "")
	}
	entries.setUncommitted(i.ID, &prepared.Row)
	event := e.out.Activated(op, prepared.Row, prepared.Reference, schemas.VerificationVerified, x.Finished, time.Now())
	if !onboarding.Publishable(event) {
		return nil, onboarding.NewActionError(onboarding.ResultInvalid, "")
	}
	tr := e.transitionOf(i, row)
	if row.Action == onboarding.ActionSetCredentials {
		text, err := x.MarshalReceipt()
		if err != nil {
			return nil, onboarding.NewActionError(onboarding.ResultInvalid, "")
		}
		defer clear(text)
		tr.EnteredFor = keyset.ActionSource(i.UUID.String())
		if tr.Entered, err = e.cfg.Keys.Seal(text, responseAssociatedData(op.Shop, op.UUID, tr.EnteredFor)); err != nil {
			e.log.Error("cannot encrypt an entered token; trying again", "intent", i.UUID.String(), "err", err)
			return nil, nil
		}
	}
	tr.Credential, tr.Active = &prepared.Row, e.activeUpdate(x.Finished, event, true)
	tr.Supersede, tr.Over, tr.Unsent, tr.Verified = string(onboarding.ReasonNewerCode), onboarding.SupersedableReasons(), onboarding.NeverSentReasons(), true
	tr.Publish = []journal.Draft{event}
	return &tr, nil
}
