package engine

import (
	"errors"
	"fmt"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// resumeLate compares responses that arrived after their operation had ended with the
// tokens in use. They stay sealed in the journal.
func (e *Engine) resumeLate(s phases, t *task) error {
	verdict, err := e.compare(s, t)
	if err != nil {
		// Compared when the lease has ended.
		e.metrics.errors.WithLabelValues("read_credentials").Inc()
		return fmt.Errorf("read the credentials with which late responses are compared: %w", err)
	}
	now := time.Now()
	tr := journal.Transition{From: t.State, To: t.State, Reason: t.Reason, Compared: true}
	row := onboarding.LateRuleOf(verdict)
	tr.Audit = &journal.AuditEntry{At: now, Actor: e.cfg.Owner, Act: "late_answer", Subject: t.UUID.String(), Detail: row.Note}
	if row.Attention {
		tr.To, tr.Reason = journal.Attention, string(onboarding.ReasonSecondToken)
		tr.Publish = e.out.OfAttention(t.ClaimedOperation, onboarding.ReasonSecondToken, now)
	}
	e.log.Warn("a response arrived after its operation had ended", t.attrs("meaning", row.Note)...)
	// A superseded operation has no credentials of its own: its credentials belong to
	// another operation.
	tr.Verified = verdict == onboarding.LateSameToken && t.State == journal.Superseded
	return e.apply(s, t, tr)
}

// compare searches each late token among the stored responses of the credentials in
// use, and among these credentials, because stored responses are erased. It returns an
// error if the store cannot answer now and that affects the result.
func (e *Engine) compare(s phases, t *task) (onboarding.LateVerdict, error) {
	var known []invoicebox.Activation
	for _, r := range t.Known {
		if act, err := e.readResponse(t.Shop, r); err == nil {
			known = append(known, act)
		}
	}
	var silent error
	for _, c := range t.Stored {
		kept, err := e.cfg.Credentials.Read(s.writes, c)
		switch {
		case err == nil:
			known = append(known, invoicebox.Activation{MerchantID: kept.MerchantID, Token: kept.Token})
		case !errors.Is(err, credentials.ErrUnreadable):
			silent = err
		}
	}
	verdict := onboarding.LateNoToken
	for _, r := range t.Late {
		act, err := e.readResponse(t.Shop, r)
		switch {
		case errors.Is(err, errNoToken):
			continue
		case err != nil:
			return onboarding.LateOtherToken, nil //nolint:nilerr // a response that cannot be read may contain a token
		}
		same := false
		for _, k := range known {
			same = same || k.MerchantID == act.MerchantID && k.Token.Equal(act.Token)
		}
		if !same {
			return onboarding.LateOtherToken, silent
		}
		verdict = onboarding.LateSameToken
	}
	return verdict, nil
}

// errNoToken: a stored response can be decrypted and has no token.
var errNoToken = errors.New("engine: the response has no token")

func (e *Engine) readResponse(shop journal.ShopKey, r journal.StoredReceipt) (invoicebox.Activation, error) {
	x, err := e.openResponse(shop, &r)
	if err != nil {
		return invoicebox.Activation{}, err
	}
	act, err := invoicebox.ParseActivation(x)
	if err != nil {
		return invoicebox.Activation{}, errNoToken
	}
	return act, nil
}
