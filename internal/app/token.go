package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// tokenWithin bounds the check of the tokens at the start: an API that does not respond
// must not prevent the start.
const tokenWithin = 10 * time.Second

// newClient creates the client of an account; the transport is the caller's.
func newClient(o *Options, a Account, transport *invoicebox.Transport, log *slog.Logger) (*invoicebox.Client, error) {
	options := invoicebox.Options{
		BaseURL: o.InvoiceboxURL, PartnerID: a.PartnerID, Token: a.Token, UserAgent: userAgent(o.Version),
		Deadline: o.RequestDeadline, Transport: transport, Logger: log,
	}
	if a.Signing != nil {
		options.Signing = &invoicebox.Signing{Key: a.Signing.Key, Algorithm: a.Signing.Algorithm, Encoding: a.Signing.Encoding}
	}
	client, err := invoicebox.New(options)
	if err != nil {
		return nil, fmt.Errorf("account %q: %w", a.Name, err)
	}
	return client, nil
}

// A rateLimiter counts the check of a token like every other request.
type rateLimiter interface {
	BeginCheck(ctx context.Context, c journal.Check) (journal.AttemptID, error)
	EndAttempt(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error
}

// checkTokens checks the accounts' tokens at Invoicebox and stores the results in the
// accounts: the engine sends nothing for an account whose settings are wrong. It fails if
// Invoicebox refuses all tokens, because the worker could do nothing. Without a response
// the result is unknown.
func checkTokens(ctx context.Context, o *Options, clients []engine.Account, ledger rateLimiter, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, tokenWithin)
	defer cancel()
	answers := make([]invoicebox.Exchange, len(clients))
	asked := make([]bool, len(clients))
	var looks errgroup.Group
	looks.SetLimit(8)
	for i, a := range clients {
		looks.Go(func() (err error) {
			answers[i], asked[i], err = checkTokenCounted(ctx, o, o.Accounts[i], a.Client, ledger)
			return err
		})
	}
	if err := looks.Wait(); err != nil {
		return err
	}
	var refused []string
	for i, a := range clients {
		if asked[i] {
			clients[i].FirstCheck = &answers[i]
		}
		switch v := invoicebox.Classify(answers[i]); {
		case !asked[i]:
			log.Info("the token was not checked: no request is left in this window", "account", a.Name)
		case v.Outcome == invoicebox.Unauthorized:
			refused = append(refused, a.Name)
			log.Error("Invoicebox refuses the account's token", "account", a.Name)
		case v.Outcome != invoicebox.Done:
			log.Warn("the check of the account's token was inconclusive", "account", a.Name, "outcome", v.Outcome.String(), "reason", string(v.Reason), "detail", detail(o, answers[i]))
		}
	}
	if len(refused) == len(clients) {
		setting := "token-file"
		if len(clients) > 1 {
			setting = "accounts[].token-file"
		}
		return &config.Error{Setting: setting, Want: fmt.Sprintf("%s refuses the token of account %s (401): put the right one into the file", o.InvoiceboxURL, strings.Join(refused, ", "))}
	}
	return nil
}

func detail(o *Options, x invoicebox.Exchange) string {
	_, words := describeTokenCheck(o, x)
	return words
}

func checkTokenCounted(ctx context.Context, o *Options, a Account, client engine.Client, ledger rateLimiter) (x invoicebox.Exchange, asked bool, err error) {
	id, err := ledger.BeginCheck(ctx, journal.Check{
		Account: a.Name, SendBy: o.RequestDeadline, Deadline: o.RequestDeadline,
		Permits: []journal.Permit{
			{RateLimit: "account/" + a.Name, Limit: a.RequestsPerWindow, Window: a.Window, Slack: o.Slack},
			{RateLimit: engine.EgressLedger, Limit: o.EgressRequestsPerWindow, Window: o.egressWindow(), Slack: o.Slack},
		},
	})
	if _, ok := errors.AsType[*journal.NoPermitError](err); ok {
		return x, false, nil
	}
	if err != nil {
		return x, false, err
	}
	x = client.CheckOwnToken(ctx)
	v := invoicebox.Classify(x)
	end := journal.AttemptEnd{
		Answered: x.Status != 0, NotSent: x.Written == 0, At: x.Finished, Status: x.Status,
		Outcome: v.Outcome.String(), Code: v.Code, RequestID: x.RequestID, Reason: string(v.Reason),
	}
	return x, true, ledger.EndAttempt(context.WithoutCancel(ctx), id, end)
}

// proveAccounts marks the accounts whose settings are not proven to be right: no ended
// operation proves it, or the API did not answer the check of the token.
func proveAccounts(ctx context.Context, j journal.Journal, accounts []engine.Account) error {
	for i, a := range accounts {
		ended, err := j.Operations(ctx, journal.OperationFilter{Account: a.Name, State: journal.Done, Limit: 100})
		if err != nil {
			return fmt.Errorf("journal: read the operations of account %q: %w", a.Name, err)
		}
		checked := a.FirstCheck != nil && invoicebox.Classify(*a.FirstCheck).Outcome == invoicebox.Done
		accounts[i].Unproven = !checked || !slices.ContainsFunc(ended, onboarding.Proves)
	}
	return nil
}

// watchTokens reports tokens that have changed, so that an account that is paused for
// its token continues at once.
func watchTokens(ctx context.Context, accounts []Account, changed func(account string)) {
	last := make([]secret.String, len(accounts))
	for i, a := range accounts {
		last[i] = a.Token()
	}
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for i, a := range accounts {
			if now := a.Token(); !now.Equal(last[i]) {
				last[i] = now
				changed(a.Name)
			}
		}
	}
}
