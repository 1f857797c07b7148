package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
)

const (
	verificationPoll  = time.Minute // how often a worker reads reviews that another has begun
	verificationPause = 5 * time.Second
	// verificationShare is the part of the egress ledger that verifications may use:
	// one in this many permits.
	verificationShare = 10
)

// A verifier verifies the current credentials of one account's shops, one at a time. It
// uses none of the slots for calls.
type verifier struct {
	engine      *Engine
	acc         *account
	silent      int  // consecutive checks that proved nothing: the pauses between checks grow
	consecutive int  // different shops refused in a row
	suppressed  bool // credentials_invalid events are suppressed
}

// verifyCredentials verifies credentials until the run ends.
func (e *Engine) verifyCredentials(s phases, acc *account) {
	r := &verifier{engine: e, acc: acc}
	failures := 0
	for {
		next, err := r.verifyNext(s)
		wait := verificationPoll
		if !next.IsZero() {
			wait = min(max(time.Until(next), 0), verificationPoll)
		}
		switch {
		case errors.Is(err, journal.ErrClosed) || s.draining():
			return
		case err != nil:
			e.metrics.errors.WithLabelValues("reviews").Inc()
			e.outage.failed(slog.LevelError, "cannot claim verifications from the journal", err, "account", acc.Name)
			wait = onboarding.Exponential(errorBase, errorCap, failures)
			failures++
		default:
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.accept.Done():
		case <-acc.verificationWake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// wakeVerification signals that a review has begun.
func (acc *account) wakeVerification() {
	select {
	case acc.verificationWake <- struct{}{}:
	default:
	}
}

// verifyNext claims one due review, if there is a permit, and checks the token. It
// returns when to call it again.
func (r *verifier) verifyNext(s phases) (next time.Time, err error) {
	p := r.engine
	if r.acc.breaker.Degraded() {
		return time.Now().Add(verificationPause), nil
	}
	share, back, err := p.journal.AvailablePermits(s.accept, p.cfg.verificationPermit())
	if err != nil || share == 0 {
		return back, err
	}
	egress, back, err := p.journal.AvailablePermits(s.accept, p.cfg.egress())
	if err != nil || egress == 0 {
		return back, err
	}
	// A routine check can wait while the account is degraded.
	idle := 2*egress > p.cfg.EgressRequests
	scheduled := p.cfg.VerifyEvery != onboarding.NoVerifyEvery
	// One at a time: the share of the ledger is small, and a claimed review that is not
	// checked would wait for the end of its lease.
	request := journal.ReviewRequest{Account: r.acc.Name, Limit: 1, Lease: 2 * p.cfg.verificationTime(), Routine: scheduled && idle}
	if request.Routine {
		request.Horizon = p.cfg.VerifyEvery
	}
	got, err := p.journal.ClaimReviews(s.writes, request)
	if err != nil {
		return next, err
	}
	r.suppress(got.Consecutive)
	if len(got.Reviews) == 0 {
		if next = got.Next; scheduled && !idle {
			next = minTime(next, time.Now().Add(verificationPause))
		}
		return next, nil
	}
	v := got.Reviews[0]
	switch answer, err := r.check(s, v); {
	case errors.Is(err, credentials.ErrUnreadable):
	case err != nil:
		return time.Now().Add(verificationPause), nil //nolint:nilerr // logged by check; claimed again when its lease ends
	case answer == journal.ReviewSilent:
		r.silent++
		return time.Now().Add(onboarding.Exponential(p.cfg.VerificationBase/8, p.cfg.VerificationCap/8, r.silent)), nil
	default:
		r.silent = 0
	}
	return time.Now(), nil // its next check may be due before all others
}

// suppress decides whether rejections are attributed to the shops or to the account.
func (r *verifier) suppress(inRow int) {
	p, doubt := r.engine, inRow >= onboarding.MaxConsecutiveRejections
	r.consecutive = inRow
	p.metrics.consecutiveRejections.WithLabelValues(r.acc.Name).Set(float64(inRow))
	if doubt == r.suppressed {
		return
	}
	if r.suppressed = doubt; doubt {
		p.log.Error("many consecutive tokens rejected; suppressing credentials_invalid events until one works; check the account",
			"account", r.acc.Name, "consecutive", inRow)
		return
	}
	p.log.Warn("a token works again; publishing credentials_invalid events for those that are still rejected", "account", r.acc.Name)
}

// check verifies one shop's credentials and writes the result. It returns an error if
// no request was sent.
func (r *verifier) check(s phases, v journal.Review) (journal.ReviewAnswer, error) {
	p := r.engine
	s, span := p.startRoot(s, "verify", r.acc.Name, v.Credential.Shop.Shop, tracing.Event{TraceParent: v.TraceParent, Shop: v.Credential.Shop.Shop, ID: v.EventID})
	defer span.End()
	kept, err := p.cfg.Credentials.Read(s.calls, v.Credential)
	if err != nil {
		// No request was sent, so nothing is known of Invoicebox either.
		p.metrics.errors.WithLabelValues("read_credentials").Inc()
		p.log.Error("cannot read stored credentials", "account", r.acc.Name, "shop", v.Credential.Shop.Shop, "version", v.Credential.Version,
			"lost", errors.Is(err, credentials.ErrUnreadable), "err", err)
		r.end(s, v, journal.ReviewSilent)
		return 0, err
	}
	answer, err := r.requestCheck(s, v, kept.Token)
	if err == nil {
		r.end(s, v, answer)
	}
	return answer, err
}

// requestCheck makes the check. It takes permits of the egress ledger and of its part
// for verification.
func (r *verifier) requestCheck(s phases, v journal.Review, token secret.String) (journal.ReviewAnswer, error) {
	p := r.engine
	sendBy, deadline := p.cfg.sendBy(), p.cfg.checkDeadline()
	by := time.Now().Add(sendBy)
	id, err := p.journal.BeginCheck(s.writes, journal.Check{
		Account: r.acc.Name, SendBy: sendBy, Deadline: sendBy + deadline, Permits: []journal.Permit{p.cfg.verificationPermit(), p.cfg.egress()},
	})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(s.calls, deadline)
	x := r.acc.Client.CheckToken(ctx, invoicebox.CallOptions{SendBy: by}, token)
	cancel()
	c, result, err := invoicebox.ReadCheck(x)
	p.metrics.called(s.writes, x.Operation.String(), c.Outcome.String(), x.Finished.Sub(x.Started))
	p.background(func() { p.endAttempt(s, id, endOf(x, c)) })
	answer := journal.ReviewSilent
	switch {
	case err != nil || !result.Conclusive:
	case result.Valid:
		answer = journal.ReviewAccepted
	default:
		answer = journal.ReviewRefused
	}
	if answer != journal.ReviewAccepted {
		p.log.Warn("verification of a shop's token did not succeed", "account", r.acc.Name, "shop", v.Credential.Shop.Shop, "version", v.Credential.Version,
			"state", v.State.String(), "status", x.Status, "outcome", c.Outcome.String(), "request_id", x.RequestID)
	}
	return answer, nil
}

// end writes the result of a check, as the table says.
func (r *verifier) end(s phases, v journal.Review, answer journal.ReviewAnswer) {
	p, now := r.engine, time.Now()
	refused := v.Refused
	confirmed := false
	switch answer {
	case journal.ReviewAccepted:
		refused = time.Time{}
		r.suppress(0)
	case journal.ReviewRefused:
		if refused.IsZero() {
			refused = now
			r.suppress(r.consecutive + 1)
		}
		confirmed = !r.suppressed && now.Sub(refused) >= p.cfg.VerifyFor
	}
	row := onboarding.VerificationRuleOf(v.State, answer, confirmed)
	e := journal.ReviewEnd{Ref: v.Ref, Answer: answer, State: row.To, Move: row.Move}
	e.Due, e.Routine = p.nextVerification(row, v.Tries, refused, now)
	if row.Event != "" {
		draft, err := p.out.Verified(v, row.Event, now)
		if err != nil {
			p.log.Error("cannot publish a stored reference", "account", r.acc.Name, "shop", v.Credential.Shop.Shop, "err", err)
			return
		}
		e.Publish = []journal.Draft{draft}
		e.Audit = &journal.AuditEntry{
			At: now, Actor: p.cfg.Owner, Act: "review", Subject: v.Operation.String(),
			Detail: fmt.Sprintf("credentials version %d: %s, were %s", v.Credential.Version, row.To, v.State),
		}
	}
	switch err := p.journal.EndReview(s.writes, e); {
	case err == nil:
		if row.Event != "" {
			p.metrics.verifications.WithLabelValues(r.acc.Name, row.To.String()).Inc()
		}
		if row.Move == onboarding.ToAttention {
			p.log.Warn(needsDecision, "operation", v.Operation.String(), "kind", journal.Activate.String(), "account", r.acc.Name,
				"shop", v.Credential.Shop.Shop, "reason", row.Move.Reason)
		}
	case errors.Is(err, journal.ErrStale):
		p.log.Info("credentials were replaced during their verification", "account", r.acc.Name, "shop", v.Credential.Shop.Shop)
	default:
		// Checked again when the lease has ended.
		p.metrics.errors.WithLabelValues("end_review").Inc()
		p.outage.failed(slog.LevelWarn, "cannot write the result of a verification; verifying again when its lease ends", err, "account", r.acc.Name)
	}
}

// verificationTime is what one check takes at most.
func (c Config) verificationTime() time.Duration { return c.sendBy() + c.checkDeadline() + leaseMargin }

// nextVerification returns when credentials are checked next, and whether nothing is
// open until then. Refused is since when they are rejected, zero if they are not.
func (e *Engine) nextVerification(row onboarding.VerificationRule, tries int, refused, now time.Time) (due time.Time, routine bool) {
	wait := e.jitter(onboarding.Exponential(2*e.cfg.VerificationBase, e.cfg.VerificationCap, tries))
	switch row.Next {
	case onboarding.RetrySoon:
		return now.Add(wait), row.To != journal.CredentialPending && refused.IsZero()
	case onboarding.Confirm:
		if left := refused.Add(e.cfg.VerifyFor).Sub(now); left > 0 {
			wait = max(time.Second, min(wait, left))
		}
		return now.Add(wait), false
	}
	return now.Add(e.nextCheck()), true
}

// nextCheck returns a random time for each check, so that shops that were activated
// together are not checked together. It is stored also without a schedule, in case one
// is set later.
func (e *Engine) nextCheck() time.Duration {
	if e.cfg.VerifyEvery == onboarding.NoVerifyEvery {
		return e.jitter(onboarding.DefaultVerifyEvery)
	}
	return e.jitter(e.cfg.VerifyEvery)
}

// verificationPermit is the ledger that limits verifications to a small part of all
// requests.
func (c Config) verificationPermit() journal.Permit {
	p := c.egress()
	p.RateLimit, p.Limit = EgressLedger+"/reviews", max(1, p.Limit/verificationShare)
	return p
}
