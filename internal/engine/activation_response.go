package engine

import (
	"errors"
	"log/slog"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// onActivationResponse saves the response of an activation before it is parsed, and
// continues with it.
func (e *Engine) onActivationResponse(s phases, t *task, x invoicebox.Exchange) error {
	text, err := x.MarshalReceipt()
	sealedFor := keyset.AttemptSource(int64(t.attempt))
	var sealed []byte
	if err == nil {
		sealed, err = e.cfg.Keys.Seal(text, responseAssociatedData(t.Shop, t.UUID, sealedFor))
		clear(text)
	}
	if err != nil {
		// Neither fails for a response that the client accepted. If one did, the
		// process must not continue and lose the response silently.
		panic("engine: a response cannot be encrypted")
	}
	mine, err := e.persistResponse(s, t, journal.Receipt{
		Ref: t.Ref, Attempt: t.attempt, Sealed: sealed, SealedFor: sealedFor, End: endOf(x, invoicebox.Classification{Outcome: invoicebox.Done}),
	})
	a := readActivation(x)
	e.logOutcome(s, t, x, a.verdict)
	e.reportToBreaker(t, x, a.verdict)
	if err != nil || !mine {
		return err
	}
	return e.storeCredentials(s, t, a)
}

// An activation is the response of an activation and its content.
type activation struct {
	invoicebox.Exchange
	verdict invoicebox.Classification
	invoicebox.Activation
	err error // of the body
}

func readActivation(x invoicebox.Exchange) activation {
	a := activation{Exchange: x}
	a.verdict, a.Activation, a.err = invoicebox.ReadActivation(x)
	return a
}

// resumeReceived continues with a response that an earlier claim saved.
func (e *Engine) resumeReceived(s phases, t *task) error {
	x, err := e.openResponse(t.Shop, t.Receipt)
	switch {
	case errors.Is(err, keyset.ErrNoKey) && time.Since(t.Receipt.At) < keyWait:
		e.onMissingKey(t)
		return e.postpone(s, t, onboarding.ReasonKeyMissing, time.Now().Add(e.jitter(storeRetry)))
	case err != nil:
		e.log.Error("the stored response does not belong to the operation: its row was moved, edited or damaged", t.attrs("table", "attempt", "err", err)...)
		return e.toAttention(s, t, journal.Received, onboarding.ReasonAnswerNotAuthentic)
	}
	return e.storeCredentials(s, t, readActivation(x))
}

// keyWait is how long a value waits for a key that this worker's keyset does not
// have: another replica may have just begun to use it, and this one then stops
// within seconds. No worker has a key that is unknown for longer.
const keyWait = time.Minute

// onMissingKey logs that a value was sealed with a key that this worker's keyset does
// not have. Another replica may have it.
func (e *Engine) onMissingKey(t *task) {
	e.metrics.errors.WithLabelValues("keyset").Inc()
	e.outage.failed(slog.LevelError, "the keyset lacks the key of a stored value; give all workers the same keyset-file", keyset.ErrNoKey, t.attrs()...)
}

// toAttention moves an operation to attention, with the event of the reason.
func (e *Engine) toAttention(s phases, t *task, from journal.State, r onboarding.Reason) error {
	if from == journal.Received {
		// The code is spent, and its response cannot be used.
		e.reportActivation(t, breaker.SignalUnusable)
	}
	return e.apply(s, t, journal.Transition{From: from, To: journal.Attention, Reason: string(r), Publish: e.out.OfAttention(t.ClaimedOperation, r, time.Now())})
}

// storeCredentials stores the credentials of a received response. It verifies and
// publishes them, or leaves verification for later, which frees the shop's lane.
func (e *Engine) storeCredentials(s phases, t *task, a activation) error {
	defer e.dropCheck(s, t)
	row := onboarding.ResponseRuleOf(t.Kind, a.verdict, a.Status, t.Doubt)
	if row.To != journal.Stored || a.err != nil {
		return e.toAttention(s, t, journal.Received, onboarding.ReasonAnswerUnreadable)
	}
	prepared, err := e.cfg.Credentials.Prepare(s.writes, credentials.Secret{
		Shop: t.Shop, Version: t.NextVersion, Operation: t.UUID, MerchantID: a.MerchantID, Token: a.Token,
	})
	switch {
	case errors.Is(err, credentials.ErrInvalid):
		return e.toAttention(s, t, journal.Received, onboarding.ReasonAnswerUnreadable)
	case errors.Is(err, credentials.ErrConflict) && t.Reason != string(onboarding.ReasonVersionTaken):
		// Another key may have made the proof of the secret at the path, if a replica
		// has had a newer keyset for some seconds.
		e.log.Error("the credential store has a foreign secret at the path; trying once more", t.attrs("err", err)...)
		return e.postpone(s, t, onboarding.ReasonVersionTaken, time.Now().Add(e.jitter(storeRetry)))
	case errors.Is(err, credentials.ErrConflict):
		e.log.Error("the credential store has a foreign secret at the path", t.attrs("err", err)...)
		return e.toAttention(s, t, journal.Received, onboarding.ReasonStoreConflict)
	case err != nil:
		e.log.Error("cannot write the secret to the credential store; the response stays encrypted in the journal", t.attrs("err", err)...)
		return e.postpone(s, t, onboarding.ReasonStoreNotReady, time.Now().Add(e.jitter(storeRetry)))
	}
	event := e.out.Activated(t.ClaimedOperation, prepared.Row, prepared.Reference, schemas.VerificationVerified, a.Finished, time.Now())
	if !onboarding.Publishable(event) {
		return e.toAttention(s, t, journal.Received, onboarding.ReasonAnswerUnreadable)
	}
	// The code was executed: older operations in doubt need no result any more.
	tr := journal.Transition{From: journal.Received, Credential: &prepared.Row, Supersede: string(onboarding.ReasonNewerCode), Over: onboarding.SupersedableReasons(), Unsent: onboarding.NeverSentReasons()}
	verdict, check := e.checkToken(s, t, a.Token)
	if check != nil {
		tr.Attempt, tr.End = check.id, check.end
	}
	switch verdict {
	case tokenGood:
		tr.To, tr.Reason, tr.Verified = journal.Done, string(onboarding.ReasonActivated), true
		tr.Active = e.activeUpdate(a.Finished, event, true)
		tr.Publish = []journal.Draft{event}
	default:
		tr.To, tr.Reason, tr.Due = journal.Stored, string(verdict.reason()), time.Now().Add(firstRecheck)
	}
	err = e.apply(s, t, tr)
	if err != nil && tr.End != nil && !errors.Is(err, journal.ErrStale) { // apply has saved the end of a stale one
		e.saveCheckEnd(s, check)
	}
	switch {
	case err == nil:
		e.reportActivation(t, breaker.SignalUsable)
	case errors.Is(err, journal.ErrMerchantConflict):
		e.log.Error("the merchant of the activation conflicts with the shop's known merchant, or is another shop's", t.attrs()...)
		return e.toAttention(s, t, journal.Received, onboarding.ReasonMerchantConflict)
	case errors.Is(err, journal.ErrVersionTaken):
		// Another operation of the shop was stored since the claim: the next
		// claim knows the version that is free now.
		return e.postpone(s, t, onboarding.ReasonVersionTaken, time.Time{})
	case errors.Is(err, journal.ErrOlderVersion):
		// Its version was assigned before a restore, and the shop has newer credentials
		// since. The secret is stored beside them, and the next claim ends the
		// operation.
		tr.To, tr.Reason, tr.Active, tr.Publish = journal.Stored, string(onboarding.ReasonNewerCode), nil, nil
		tr.Attempt, tr.End = 0, nil
		return e.apply(s, t, tr)
	}
	return err
}

// postpone leaves a received response for a later claim.
func (e *Engine) postpone(s phases, t *task, why onboarding.Reason, due time.Time) error {
	return e.apply(s, t, journal.Transition{From: journal.Received, To: journal.Received, Due: due, Reason: string(why)})
}

const (
	firstRecheck = time.Second
	lastRecheck  = 15 * time.Second
)

// resumeStored continues to check a stored token, for the verification time.
func (e *Engine) resumeStored(s phases, t *task) error {
	token, at, err := e.storedToken(s, t)
	switch {
	case errors.Is(err, credentials.ErrUnreadable):
		e.log.Error("the stored credentials do not belong to the shop: their row was moved, edited or damaged", t.attrs("table", "credential", "err", err)...)
		return e.toAttention(s, t, journal.Stored, onboarding.ReasonAnswerNotAuthentic)
	case err != nil:
		e.log.Error("cannot read the secret from the credential store; trying again", t.attrs("err", err)...)
		return e.apply(s, t, journal.Transition{From: journal.Stored, To: journal.Stored, Reason: t.Reason, Due: time.Now().Add(e.jitter(storeRetry))})
	}
	if t.Active != nil && t.Active.Version > t.Credential.Version {
		return e.supersededByNewer(s, t)
	}
	verdict, check := e.checkToken(s, t, token)
	e.saveCheckEnd(s, check)
	now := time.Now()
	age := now.Sub(t.StoredAt)
	// A check without a response does not replace the last result.
	last := verdict.reason()
	if verdict == tokenSilent && t.Reason == string(onboarding.ReasonTokenRefused) {
		last = onboarding.ReasonTokenRefused
	}
	switch {
	case verdict == tokenGood:
		return e.publishActivated(s, t, schemas.VerificationVerified, at, now)
	case age < e.cfg.VerifyFor:
		due := now.Add(min(max(age/2, firstRecheck), lastRecheck))
		if s.draining() {
			due = time.Time{}
		}
		return e.apply(s, t, journal.Transition{From: journal.Stored, To: journal.Stored, Reason: string(last), Due: due})
	case last == onboarding.ReasonTokenRefused:
		err := e.apply(s, t, journal.Transition{
			From: journal.Stored, To: journal.Attention, Reason: string(onboarding.ReasonCredentialsInvalid), Current: t.Credential.Version,
			Publish: e.out.OfAttention(t.ClaimedOperation, onboarding.ReasonCredentialsInvalid, now),
		})
		if errors.Is(err, journal.ErrOlderVersion) {
			return e.supersededByNewer(s, t)
		}
		return err
	}
	return e.publishActivated(s, t, schemas.VerificationPending, at, now)
}

// storedToken returns the token of stored credentials, and when it was received. The
// response that contained it is erased some time after the token was found to work.
func (e *Engine) storedToken(s phases, t *task) (token secret.String, at time.Time, err error) {
	if t.Credential == nil {
		return token, at, credentials.ErrUnreadable
	}
	// The event is published from the row, so the row has to be authentic.
	kept, err := e.cfg.Credentials.Read(s.writes, *t.Credential)
	if err != nil {
		return token, at, err
	}
	if x, err := e.openResponse(t.Shop, t.Receipt); err == nil {
		if act, err := invoicebox.ParseActivation(x); err == nil && act.Token.Equal(kept.Token) {
			return kept.Token, x.Finished, nil
		}
	}
	at = t.Credential.At
	if t.Active != nil && t.Active.Operation == t.UUID {
		at = t.Active.At
	}
	return kept.Token, at, nil
}

// publishActivated publishes a stored credential as the shop's current one.
func (e *Engine) publishActivated(s phases, t *task, v schemas.Verification, activatedAt, now time.Time) error {
	ref, err := schemas.ParseReference(t.Credential.Reference)
	if err != nil {
		return e.toAttention(s, t, journal.Stored, onboarding.ReasonAnswerUnreadable)
	}
	event := e.out.Activated(t.ClaimedOperation, *t.Credential, ref, v, activatedAt, now)
	err = e.apply(s, t, journal.Transition{
		From: journal.Stored, To: journal.Done, Reason: string(onboarding.ReasonActivated), Verified: v == schemas.VerificationVerified,
		Active: e.activeUpdate(activatedAt, event, v == schemas.VerificationVerified), Publish: []journal.Draft{event},
	})
	t.acc.wakeVerification()
	if errors.Is(err, journal.ErrOlderVersion) {
		return e.supersededByNewer(s, t)
	}
	return err
}

// activeUpdate makes an activation the shop's current one, with the review of its
// credentials.
func (e *Engine) activeUpdate(at time.Time, event journal.Draft, verified bool) *journal.ActiveUpdate {
	now := time.Now()
	u := &journal.ActiveUpdate{
		At: at, Event: event.ID, Review: now.Add(e.cfg.VerificationBase), Replaced: onboarding.Replaced, DestroyAt: onboarding.DestroyAt(now, e.cfg.DestroyAfter),
	}
	if verified {
		u.Review = now.Add(e.nextCheck())
	}
	return u
}

// supersededByNewer ends an activation whose credentials were replaced while they were
// verified, because a newer code was activated. It publishes no event: the shop's
// current credentials are the newer ones.
func (e *Engine) supersededByNewer(s phases, t *task) error {
	return e.apply(s, t, journal.Transition{From: journal.Stored, To: journal.Superseded, Reason: string(onboarding.ReasonNewerCode)})
}

// resumeUnknown waits for the end of the quiet period, and then continues as the table
// says. The quiet period begins when the last attempt could not be written any more.
// The journal returns that time, independently of earlier claims and the stored due
// time.
func (e *Engine) resumeUnknown(s phases, t *task) error {
	tr := journal.Transition{From: journal.Unknown, To: journal.Unknown, Reason: string(onboarding.ReasonNoProof), Doubt: true}
	if t.Kind == journal.Invite {
		// An e-mail may have been sent: the cool-down counts.
		tr.Invited = &journal.InvitedUpdate{At: t.ConnectionClosed}
	}
	now := time.Now()
	if over := t.ConnectionClosed.Add(e.cfg.QuietPeriod); now.Before(over) {
		tr.Due = over
	} else {
		row := onboarding.AfterQuietOf(t.Kind, e.cfg.UnknownOutcome, t.Unknowns)
		tr.To, tr.Reason = row.To, string(row.Reason)
		if row.To == journal.Attention {
			tr.Publish = e.out.OfAttention(t.ClaimedOperation, row.Reason, now)
		}
	}
	return e.apply(s, t, tr)
}
