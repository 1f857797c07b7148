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
	"invoicebox-worker/invoicebox"
)

const (
	reviewPoll  = time.Minute // how often a worker looks for reviews that another has begun
	reviewPause = 5 * time.Second
	// reviewShare is the part of the egress ledger that reviews may use: one in so
	// many permits.
	reviewShare = 10
)

// A reviewer looks at the current credentials of one account's shops: one look
// at a time, beside the places of calls, so that it takes none from them.
type reviewer struct {
	pool   *Pool
	acc    *account
	silent int  // looks in a row that proved nothing: the pauses between looks grow
	inRow  int  // different shops refused in a row
	doubt  bool // refusals are withheld
}

// reviews looks at credentials until the run ends.
func (p *Pool) reviews(s scope, acc *account) {
	r := &reviewer{pool: p, acc: acc}
	failures := 0
	for {
		next, err := r.round(s)
		wait := reviewPoll
		if !next.IsZero() {
			wait = min(max(time.Until(next), 0), reviewPoll)
		}
		switch {
		case errors.Is(err, journal.ErrClosed) || s.draining():
			return
		case err != nil:
			p.metrics.errors.WithLabelValues("reviews").Inc()
			p.outage.fails(slog.LevelError, "the journal does not give out reviews of credentials", err, "account", acc.Name)
			wait = onboarding.Exponential(errorBase, errorCap, failures)
			failures++
		default:
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.run.Done():
		case <-acc.reviewWake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reviewSoon says that a review has begun.
func (acc *account) reviewSoon() {
	select {
	case acc.reviewWake <- struct{}{}:
	default:
	}
}

// round claims one review that is due, if there is a permit, and looks. It
// returns when to come again.
func (r *reviewer) round(s scope) (next time.Time, err error) {
	p := r.pool
	if r.acc.gate.Degraded() {
		return time.Now().Add(reviewPause), nil
	}
	share, back, err := p.journal.AvailablePermits(s.run, p.cfg.reviewPermit())
	if err != nil || share == 0 {
		return back, err
	}
	egress, back, err := p.journal.AvailablePermits(s.run, p.cfg.egress())
	if err != nil || egress == 0 {
		return back, err
	}
	// A routine look can wait until there is nothing better to do.
	idle := 2*egress > p.cfg.EgressRequests
	scheduled := p.cfg.VerifyEvery != onboarding.NoVerifyEvery
	// One at a time: the share of the ledger is small, and what is not looked at
	// would wait for the end of its lease.
	request := journal.ReviewRequest{Account: r.acc.Name, Limit: 1, Lease: 2 * p.cfg.reviewTime(), Routine: scheduled && idle}
	if request.Routine {
		request.Horizon = p.cfg.VerifyEvery
	}
	got, err := p.journal.ClaimReviews(s.work, request)
	if err != nil {
		return next, err
	}
	r.withhold(got.InRow)
	if len(got.Reviews) == 0 {
		if next = got.Next; scheduled && !idle {
			next = minTime(next, time.Now().Add(reviewPause))
		}
		return next, nil
	}
	v := got.Reviews[0]
	switch answer, err := r.look(s, v); {
	case errors.Is(err, credentials.ErrUnreadable):
	case err != nil:
		return time.Now().Add(reviewPause), nil //nolint:nilerr // said by look; it comes back with its lease
	case answer == journal.ReviewSilent:
		r.silent++
		return time.Now().Add(onboarding.Exponential(p.cfg.ReviewBase/8, p.cfg.ReviewCap/8, r.silent)), nil
	default:
		r.silent = 0
	}
	return time.Now(), nil // what came of it may be due before all others
}

// withhold notes whether refusals speak against the shops or against the check.
func (r *reviewer) withhold(inRow int) {
	p, doubt := r.pool, inRow >= onboarding.RefusedInRow
	r.inRow = inRow
	p.metrics.refusedInRow.WithLabelValues(r.acc.Name).Set(float64(inRow))
	if doubt == r.doubt {
		return
	}
	if r.doubt = doubt; doubt {
		p.log.Error("THE TOKENS OF MANY SHOPS ARE REFUSED: none of them is announced as invalid until one works; look what has happened to the account",
			"account", r.acc.Name, "shops_in_row", inRow)
		return
	}
	p.log.Warn("tokens of shops work again: those that are still refused are announced", "account", r.acc.Name)
}

// look asks about one shop's credentials and writes what came of it. An error
// says that nothing was asked.
func (r *reviewer) look(s scope, v journal.Review) (journal.ReviewAnswer, error) {
	p := r.pool
	kept, err := p.cfg.Credentials.Read(s.calls, v.Credential)
	if err != nil {
		// Nothing was asked, so nothing is known of Invoicebox either.
		p.metrics.errors.WithLabelValues("read_credentials").Inc()
		p.log.Error("stored credentials cannot be read", "account", r.acc.Name, "shop", v.Credential.Shop.Shop, "version", v.Credential.Version,
			"lost", errors.Is(err, credentials.ErrUnreadable), "err", err)
		r.end(s, v, journal.ReviewSilent)
		return 0, err
	}
	answer, err := r.ask(s, v, kept.Token)
	if err == nil {
		r.end(s, v, answer)
	}
	return answer, err
}

// ask makes the check. It takes permits of the egress ledger and of the part
// of it that is for reviews.
func (r *reviewer) ask(s scope, v journal.Review, token secret.String) (journal.ReviewAnswer, error) {
	p := r.pool
	sendBy, deadline := p.cfg.sendBy(), p.cfg.checkDeadline()
	by := time.Now().Add(sendBy)
	id, err := p.journal.BeginCheck(s.work, journal.Check{
		Account: r.acc.Name, SendBy: sendBy, Deadline: sendBy + deadline, Permits: []journal.Permit{p.cfg.reviewPermit(), p.cfg.egress()},
	})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(s.calls, deadline)
	x := r.acc.Client.CheckToken(ctx, invoicebox.Attempt{SendBy: by}, token)
	cancel()
	c, result, err := invoicebox.ReadCheck(x)
	p.metrics.called(x.Operation.String(), c.Class.String(), x.Finished.Sub(x.Started))
	p.later(func() { p.endCheck(s, id, endOf(x, c)) })
	answer := journal.ReviewSilent
	switch {
	case err != nil || !result.Conclusive:
	case result.Valid:
		answer = journal.ReviewAccepted
	default:
		answer = journal.ReviewRefused
	}
	if answer != journal.ReviewAccepted {
		p.log.Warn("a shop's token was not accepted", "account", r.acc.Name, "shop", v.Credential.Shop.Shop, "version", v.Credential.Version,
			"state", v.State.String(), "status", x.Status, "outcome", c.Class.String(), "request_id", x.RequestID)
	}
	return answer, nil
}

// end writes what a look brought, as the table says.
func (r *reviewer) end(s scope, v journal.Review, answer journal.ReviewAnswer) {
	p, now := r.pool, time.Now()
	refused := v.Refused
	confirmed := false
	switch answer {
	case journal.ReviewAccepted:
		refused = time.Time{}
		r.withhold(0)
	case journal.ReviewRefused:
		if refused.IsZero() {
			refused = now
			r.withhold(r.inRow + 1)
		}
		confirmed = !r.doubt && now.Sub(refused) >= p.cfg.VerifyFor
	}
	row := onboarding.VerificationRuleOf(v.State, answer, confirmed)
	e := journal.ReviewEnd{Ref: v.Ref, Answer: answer, State: row.To, Move: row.Move}
	e.Due, e.Routine = p.reviewDue(row, v.Tries, refused, now)
	if row.Event != "" {
		draft, err := p.out.Verified(v, row.Event, now)
		if err != nil {
			p.log.Error("a stored reference cannot be published", "account", r.acc.Name, "shop", v.Credential.Shop.Shop, "err", err)
			return
		}
		e.Publish = []journal.Draft{draft}
		e.Audit = &journal.AuditEntry{
			At: now, Actor: p.cfg.Owner, Act: "review", Subject: v.Operation.String(),
			Detail: fmt.Sprintf("credentials version %d: %s, were %s", v.Credential.Version, row.To, v.State),
		}
	}
	switch err := p.journal.EndReview(s.work, e); {
	case err == nil:
		if row.Event != "" {
			p.metrics.reviewed.WithLabelValues(r.acc.Name, row.To.String()).Inc()
		}
		if row.Move == onboarding.ToAttention {
			p.log.Warn(needsDecision, "operation", v.Operation.String(), "kind", journal.Activate.String(), "account", r.acc.Name,
				"shop", v.Credential.Shop.Shop, "reason", row.Move.Reason)
		}
	case errors.Is(err, journal.ErrStale):
		p.log.Info("newer credentials came while the older were looked at", "account", r.acc.Name, "shop", v.Credential.Shop.Shop)
	default:
		// Looked at again when the lease has ended.
		p.metrics.errors.WithLabelValues("end_review").Inc()
		p.outage.fails(slog.LevelWarn, "what a look at credentials brought could not be written", err, "account", r.acc.Name)
	}
}

// reviewTime is what one look takes at most.
func (c Config) reviewTime() time.Duration { return c.sendBy() + c.checkDeadline() + leaseMargin }

// reviewDue is when credentials are looked at next, and whether nothing is open
// until then. Refused is since when they are refused, zero where they are not.
func (p *Pool) reviewDue(row onboarding.VerificationRule, tries int, refused, now time.Time) (due time.Time, routine bool) {
	wait := p.jitter(onboarding.Exponential(2*p.cfg.ReviewBase, p.cfg.ReviewCap, tries))
	switch row.Next {
	case onboarding.RetrySoon:
		return now.Add(wait), row.To != journal.CredentialPending && refused.IsZero()
	case onboarding.Confirm:
		if left := refused.Add(p.cfg.VerifyFor).Sub(now); left > 0 {
			wait = max(time.Second, min(wait, left))
		}
		return now.Add(wait), false
	}
	return now.Add(p.reviewAgain()), true
}

// reviewAgain is drawn anew for each look, so that shops that came together do
// not stay together. Without a schedule it is kept for the day when there is one.
func (p *Pool) reviewAgain() time.Duration {
	if p.cfg.VerifyEvery == onboarding.NoVerifyEvery {
		return p.jitter(onboarding.DefaultVerifyEvery)
	}
	return p.jitter(p.cfg.VerifyEvery)
}

// reviewPermit is the ledger that keeps reviews a small part of what goes out.
func (c Config) reviewPermit() journal.Permit {
	p := c.egress()
	p.Ledger, p.Limit = EgressLedger+"/reviews", max(1, p.Limit/reviewShare)
	return p
}
