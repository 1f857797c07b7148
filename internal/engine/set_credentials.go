package engine

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// entriesAtOnce bounds how many entered tokens are checked at a time.
const entriesAtOnce = 8

// CheckEntered tells whether merchant id and token are of the form that
// Invoicebox gives. The error never holds the token.
func CheckEntered(merchantID string, token secret.String) error {
	_, err := enteredAnswer(merchantID, token, time.Time{})
	return err
}

// enteredAnswer is the answer that a person brings. It is written and read as
// the answer to an activation would be; that no byte was written for it tells
// it from one.
func enteredAnswer(merchantID string, token secret.String, at time.Time) (invoicebox.Exchange, error) {
	var answer struct {
		Data struct {
			MerchantID string `json:"merchantId"`
			Token      string `json:"token"`
		} `json:"data"`
	}
	answer.Data.MerchantID, answer.Data.Token = merchantID, token.Reveal()
	body, err := json.Marshal(answer)
	if err != nil {
		return invoicebox.Exchange{}, errors.New("onboarding: merchant id and token are not UTF-8")
	}
	x := invoicebox.Exchange{Operation: invoicebox.Activate, Status: 200, Body: body, BodyComplete: true, Started: at, Finished: at}
	_, err = invoicebox.ParseActivation(x)
	return x, err
}

// entries are the entered tokens that are being checked. Nothing of them has to
// outlive the process: the intent waits in the journal until it ends.
type entries struct {
	mu   sync.Mutex
	list map[int64]*entry
}

type entry struct {
	busy  bool
	since time.Time // of the first check
	next  time.Time // of the next
	tries int
}

func newEntries() *entries { return &entries{list: make(map[int64]*entry)} }

// keep forgets what has ended.
func (e *entries) keep(waiting []journal.PendingIntent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	there := make(map[int64]bool, len(waiting))
	for _, i := range waiting {
		there[i.ID] = true
	}
	for id, x := range e.list {
		if !there[id] && !x.busy {
			delete(e.list, id)
		}
	}
}

// begin tells whether an intent's token is to be checked now, and since when it
// has been tried.
func (e *entries) begin(id int64, now time.Time) (since time.Time, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	busy := 0
	for _, x := range e.list {
		if x.busy {
			busy++
		}
	}
	x := e.list[id]
	if x == nil {
		x = &entry{since: now}
		e.list[id] = x
	}
	if x.busy || busy >= entriesAtOnce || now.Before(x.next) {
		return time.Time{}, false
	}
	x.busy = true
	return x.since, true
}

// end says when to try again, if it is still to be done.
func (e *entries) end(id int64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.list[id]
	x.busy, x.next = false, now.Add(onboarding.Exponential(firstRecheck, lastRecheck, x.tries))
	x.tries++
}

// enter takes merchant id and token as if they had been received: the token is
// checked, and then all that follows from it is one commit. It runs beside the
// other intents, which do not wait for Invoicebox.
func (p *Pool) enter(s scope, acc *account, i journal.PendingIntent, row onboarding.ActionRule, entries *entries) {
	since, ok := entries.begin(i.ID, time.Now())
	if !ok {
		return
	}
	p.later(func() {
		defer func() { entries.end(i.ID, time.Now()) }()
		p.takeEntered(s, acc, i, row, since)
	})
}

func (p *Pool) takeEntered(s scope, acc *account, i journal.PendingIntent, row onboarding.ActionRule, since time.Time) {
	now := time.Now()
	op := i.Target.ClaimedOperation
	op.Run++
	x, act, why := p.broughtBy(i, row, now)
	if why == nil && p.isPartners(act.Token) {
		why = onboarding.Refuse(onboarding.ResultOwnToken, "")
	}
	if why != nil {
		p.refuse(s, i, why)
		return
	}
	t := &task{ClaimedOperation: op, acc: acc, leaseEnd: now.Add(p.cfg.Lease)}
	verdict, check := p.checkToken(s, t, act.Token)
	p.endChecked(s, check)
	switch {
	case verdict == tokenBad:
		p.refuse(s, i, onboarding.Refuse(onboarding.ResultTokenRefused, ""))
		return
	case verdict == tokenSilent && !s.draining() && time.Since(since) >= p.cfg.VerifyFor:
		p.refuse(s, i, onboarding.Refuse(onboarding.ResultTokenUnanswered, ""))
		return
	case verdict == tokenSilent:
		return // tried again later
	}
	tr, why := p.entered(s, i, row, op, act, x)
	if why != nil {
		p.refuse(s, i, why)
		return
	}
	if tr == nil {
		return
	}
	switch ended, err := p.commit(s, i, *tr); {
	case ended && row.Action == onboarding.CommandReread:
		// Responses of that form can be used now.
		p.tellShop(t, breaker.SignalUsable)
	case errors.Is(err, journal.ErrMerchantConflict):
		p.refuse(s, i, onboarding.Refuse(onboarding.ResultMerchantConflict, ""))
	case err != nil:
		p.intentFailed(i, fmt.Errorf("%w: %w", journal.ErrStale, err))
	}
}

// broughtBy is the response that an act brings: the one that a person enters,
// or the kept one, as this version reads it.
func (p *Pool) broughtBy(i journal.PendingIntent, row onboarding.ActionRule, now time.Time) (x invoicebox.Exchange, act invoicebox.Activation, why *onboarding.Refusal) {
	if row.Action == onboarding.CommandReread {
		x, err := p.openReceipt(i.Target.Shop, i.Target.Receipt)
		if errors.Is(err, keyset.ErrOpen) {
			return x, act, forged(err)
		}
		if err == nil {
			act, err = invoicebox.ParseActivation(x)
		}
		if err != nil {
			return x, act, onboarding.Refuse(onboarding.ResultStillUnreadable, "")
		}
		return x, act, nil
	}
	given, err := p.openEntered(i)
	if err != nil {
		return x, act, forged(err)
	}
	if x, err = enteredAnswer(i.MerchantID, given, now); err == nil {
		act, err = invoicebox.ParseActivation(x)
	}
	if err != nil {
		return x, act, onboarding.Refuse(onboarding.ResultInvalid, "")
	}
	return x, act, nil
}

// isPartners tells whether a token is one of the partner's own: it passes every
// check, and whoever resolves a shop's reference must not get it.
func (p *Pool) isPartners(token secret.String) bool {
	for _, acc := range p.accounts {
		if acc.OwnToken != nil && acc.OwnToken().Equal(token) {
			return true
		}
	}
	return false
}

// entered is the transition by which an entered token becomes the shop's; nil
// where the credential store is to be asked again.
func (p *Pool) entered(
	s scope, i journal.PendingIntent, row onboarding.ActionRule, op journal.ClaimedOperation, act invoicebox.Activation, x invoicebox.Exchange,
) (*journal.Transition, *onboarding.Refusal) {
	prepared, err := p.cfg.Credentials.Prepare(s.work, credentials.Secret{
		Shop: op.Shop, Version: op.NextVersion, Operation: op.UUID, MerchantID: act.MerchantID, Token: act.Token,
	})
	switch {
	case errors.Is(err, credentials.ErrInvalid):
		return nil, onboarding.Refuse(onboarding.ResultInvalid, "")
	case errors.Is(err, credentials.ErrConflict):
		p.log.Error("the credential store has another secret in the place of the entered one", "intent", i.UUID.String(), "err", err)
		return nil, onboarding.Refuse(onboarding.ResultStoreConflict, "")
	case err != nil:
		p.log.Error("the credential store does not take the entered secret; it is tried again", "intent", i.UUID.String(), "err", err)
		return nil, nil
	}
	event := p.out.Activated(op, prepared.Row, prepared.Reference, schemas.VerificationVerified, x.Finished, time.Now())
	if !onboarding.Publishable(event) {
		return nil, onboarding.Refuse(onboarding.ResultInvalid, "")
	}
	tr := p.transitionOf(i, row)
	if row.Action == onboarding.CommandEnter {
		text, err := x.MarshalReceipt()
		if err != nil {
			return nil, onboarding.Refuse(onboarding.ResultInvalid, "")
		}
		defer clear(text)
		tr.EnteredFor = keyset.OfIntent(i.UUID.String())
		if tr.Entered, err = p.cfg.Keys.Seal(text, receiptRow(op.Shop, op.UUID, tr.EnteredFor)); err != nil {
			p.log.Error("an entered token cannot be sealed; it is tried again", "intent", i.UUID.String(), "err", err)
			return nil, nil
		}
	}
	tr.Credential, tr.Active = &prepared.Row, p.current(x.Finished, event, true)
	tr.Supersede, tr.Over, tr.Unsent, tr.Verified = string(onboarding.ReasonNewerCode), onboarding.SupersedableReasons(), onboarding.NeverSentReasons(), true
	tr.Publish = []journal.Draft{event}
	return &tr, nil
}
