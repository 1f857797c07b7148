package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// Defaults of [Config].
const (
	DefaultConcurrency     = 64
	DefaultRequestDeadline = 30 * time.Second
	DefaultLease           = 60 * time.Second
	DefaultQuietPeriod     = 2 * time.Minute
	DefaultSlack           = 60 * time.Second
	DefaultMaximumAge      = 14 * 24 * time.Hour
	DefaultRequests        = 100
	DefaultWindow          = 30 * time.Second
	DefaultEgressRequests  = 500
	DefaultVerifyFor       = 2 * time.Minute
)

// EgressLedger is the ledger of all requests from one address.
const EgressLedger = "egress"

// Journal is the part of [journal.Journal] that the engine uses.
type Journal interface {
	Accounts(ctx context.Context) ([]journal.Account, error)
	SetCircuit(ctx context.Context, account string, g journal.Circuit, was *journal.Circuit) error
	ReserveTrial(ctx context.Context, account string, was journal.Circuit, until time.Time) error
	Changed() <-chan struct{}
	Due(ctx context.Context) ([]journal.Due, error)
	Claim(ctx context.Context, r journal.ClaimRequest) ([]journal.ClaimedOperation, error)
	ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error)
	AvailablePermits(ctx context.Context, p journal.Permit) (n int, next time.Time, err error)
	BeginAttempt(ctx context.Context, s journal.AttemptStart) (journal.AttemptID, error)
	BeginCheck(ctx context.Context, c journal.Check) (journal.AttemptID, error)
	EndAttempt(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error
	SaveResponse(ctx context.Context, r journal.Receipt) (s journal.State, mine bool, err error)
	SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (s journal.State, mine bool, check journal.AttemptID, err error)
	Apply(ctx context.Context, t journal.Transition) error
	PendingIntents(ctx context.Context, limit int, skip []int64) ([]journal.PendingIntent, error)
	IntentsChanged() <-chan struct{}
	EndIntent(ctx context.Context, e journal.IntentEnd) error
	Capacity(ctx context.Context) (journal.Capacity, error)
	Shops(ctx context.Context, f journal.ShopFilter) ([]journal.ShopRecord, error)
	CredentialVersion(ctx context.Context, k journal.ShopKey, reference string) (int64, error)
	journal.ShopActions
	journal.Reviews
	journal.Reminders
	journal.CredentialMoves
}

// Client calls Invoicebox for one account. *invoicebox.Client is one.
type Client interface {
	Invite(ctx context.Context, a invoicebox.CallOptions, email secret.String) invoicebox.Exchange
	Activate(ctx context.Context, a invoicebox.CallOptions, code secret.String) invoicebox.Exchange
	CheckToken(ctx context.Context, a invoicebox.CallOptions, token secret.String) invoicebox.Exchange
	CheckOwnToken(ctx context.Context) invoicebox.Exchange
}

// Store stores the secret of an activation; see credentials.Store.
type Store interface {
	Ready(ctx context.Context, shop journal.ShopKey) error
	Prepare(ctx context.Context, s credentials.Secret) (credentials.Prepared, error)
	Read(ctx context.Context, row journal.Credential) (credentials.Secret, error)
	Destroy(ctx context.Context, row journal.Credential) error
}

// An Account is a partner account that the engine works for.
type Account struct {
	Name   string // as in the journal
	Client Client
	// OwnToken is the partner's present token; nil if it is not known. It is refused as
	// the token of a shop.
	OwnToken func() secret.String
	// Requests in every sliding Window: what Invoicebox permits this account.
	Requests int           // 0: DefaultRequests
	Window   time.Duration // 0: DefaultWindow
	// FirstCheck is the result of the check of the account's token before the start, nil
	// for none. If it shows that the settings are wrong, nothing is sent until a later
	// check succeeds.
	FirstCheck *invoicebox.Exchange
	// Unproven: no response has shown yet that the account's settings are right. Until
	// then one call is made at a time.
	Unproven bool
}

// Config configures an engine. Zero durations and numbers take the defaults named
// beside them.
type Config struct {
	Journal     Journal
	Keys        Keys
	Credentials Store
	// Stores are those that credentials can be moved to, by the word before `://` in
	// references.
	Stores   map[string]Store
	Accounts []Account

	// EgressRequests in every sliding EgressWindow, for all accounts together,
	// checks of tokens included.
	EgressRequests int           // DefaultEgressRequests
	EgressWindow   time.Duration // DefaultWindow

	Concurrency     int           // calls in flight; at least one for each account; DefaultConcurrency
	RequestDeadline time.Duration // of one call, connect included; must be the client's; DefaultRequestDeadline
	Lease           time.Duration // how long a claim holds; DefaultLease
	QuietPeriod     time.Duration // silence after an unknown outcome; DefaultQuietPeriod
	UnknownOutcome  string        // ProbeOnce or Hold; ProbeOnce
	Slack           time.Duration // how long a request may still arrive after its deadline; DefaultSlack
	MaximumAge      time.Duration // of a run that could not be executed while its account was open; DefaultMaximumAge
	// AddressCoolDown is how long an address gets no second e-mail for another
	// operation of its account, whichever shop asks; 0: off. Below MaximumAge.
	AddressCoolDown time.Duration
	DrainTime       time.Duration // how long calls in flight are awaited when stopping; request deadline + 5 s
	VerifyFor       time.Duration // how long a new token is checked before its activation is published as pending; DefaultVerifyFor
	// VerifyEvery is the longest time between two verifications of a shop's
	// credentials, as far as verification has permits; DefaultVerifyEvery. Off:
	// NoVerifyEvery. Credentials that were published as pending are verified all the
	// same.
	VerifyEvery time.Duration
	// The times between verifications of credentials that were published as pending or
	// are rejected: exponential from VerificationBase to VerificationCap, jittered.
	VerificationBase, VerificationCap time.Duration // 15 s, 1 h

	// DestroyAfter is how long the secrets of a disconnected shop, and of credentials
	// that newer ones have replaced, are retained; DefaultDestroyAfter. Without end:
	// NeverDestroy.
	DestroyAfter time.Duration
	// RemindAfter are the times after an invitation at which the shop is reminded of it,
	// if no code came: each longer than the one before. None: no reminders.
	RemindAfter []time.Duration

	// Waits of one operation that was not executed: exponential from WaitBase
	// to WaitCap, with full jitter.
	WaitBase, WaitCap time.Duration // 1 s, 5 min
	// How long an account whose calls fail backs off: exponential from RestBase to RestCap.
	RestBase, RestCap time.Duration // 5 s, 5 min
	// LimitCap bounds what a 429 can ask for.
	LimitCap time.Duration // 15 min
	// Checks of the partner's token while an account is paused for it.
	TokenCheckBase, TokenCheckCap time.Duration // 30 s, 5 min

	Owner  string         // name of the claiming process, for operators; "worker"
	Source string         // CloudEvents source; DefaultSource
	Format schemas.Format // of what is published; binary

	Metrics *Metrics        // nil: none
	Logger  *slog.Logger    // nil: none
	Tracer  *tracing.Tracer // nil: no spans
}

func (c Config) withDefaults() Config {
	c.Accounts = append([]Account(nil), c.Accounts...)
	for i := range c.Accounts {
		setDefault(&c.Accounts[i].Requests, DefaultRequests)
		setDefault(&c.Accounts[i].Window, DefaultWindow)
	}
	setDefault(&c.EgressRequests, DefaultEgressRequests)
	setDefault(&c.EgressWindow, DefaultWindow)
	setDefault(&c.Concurrency, DefaultConcurrency)
	setDefault(&c.RequestDeadline, DefaultRequestDeadline)
	setDefault(&c.Lease, DefaultLease)
	setDefault(&c.QuietPeriod, DefaultQuietPeriod)
	setDefault(&c.UnknownOutcome, onboarding.ProbeOnce)
	setDefault(&c.Slack, DefaultSlack)
	setDefault(&c.MaximumAge, DefaultMaximumAge)
	setDefault(&c.DrainTime, c.RequestDeadline+5*time.Second)
	setDefault(&c.VerifyFor, DefaultVerifyFor)
	setDefault(&c.VerifyEvery, onboarding.DefaultVerifyEvery)
	setDefault(&c.DestroyAfter, onboarding.DefaultDestroyAfter)
	setDefault(&c.VerificationBase, 15*time.Second)
	setDefault(&c.VerificationCap, time.Hour)
	setDefault(&c.WaitBase, time.Second)
	setDefault(&c.WaitCap, 5*time.Minute)
	setDefault(&c.RestBase, 5*time.Second)
	setDefault(&c.RestCap, 5*time.Minute)
	setDefault(&c.LimitCap, 15*time.Minute)
	setDefault(&c.TokenCheckBase, 30*time.Second)
	setDefault(&c.TokenCheckCap, 5*time.Minute)
	setDefault(&c.Owner, "worker")
	setDefault(&c.Source, onboarding.DefaultSource)
	setDefault(&c.Format, schemas.FormatBinary)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// validate returns all faults of the settings, each with the setting's name.
func (c Config) validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("engine: "+format, args...))
		}
	}
	bad(c.Journal == nil, "the journal is missing")
	bad(c.Keys == nil, "the keyset is missing")
	bad(c.Credentials == nil, "the credential store is missing")
	bad(len(c.Accounts) == 0, "there is no account")
	names := map[string]bool{}
	for _, a := range c.Accounts {
		bad(a.Name == "", "an account has no name")
		bad(names[a.Name], "account %q is there twice", a.Name)
		bad(a.Client == nil, "account %q has no client", a.Name)
		bad(a.Requests < 1, "requests-per-window of account %q is %d: at least 1", a.Name, a.Requests)
		bad(a.Window < 0, "window of account %q is %v: must be above 0", a.Name, a.Window)
		names[a.Name] = true
	}
	bad(c.EgressRequests < 1, "egress-requests-per-window is %d: at least 1", c.EgressRequests)
	bad(c.Concurrency < 1 || c.Concurrency > 10_000, "concurrency is %d: 1 to 10000", c.Concurrency)
	bad(c.Concurrency >= 1 && c.Concurrency < len(c.Accounts),
		"concurrency is %d: at least one for each of the %d accounts", c.Concurrency, len(c.Accounts))
	bad(c.Slack < 0, "slack is %v: must not be negative", c.Slack)
	bad(c.QuietPeriod < c.Slack, "quiet-period is %v: at least the slack (%v), or a probe could overtake the request that it asks about", c.QuietPeriod, c.Slack)
	bad(c.UnknownOutcome != onboarding.ProbeOnce && c.UnknownOutcome != onboarding.Hold, "unknown-outcome is %q: %s or %s", c.UnknownOutcome, onboarding.ProbeOnce, onboarding.Hold)
	for _, d := range []struct {
		setting string
		value   time.Duration
	}{
		{"egress window", c.EgressWindow}, {"request-deadline", c.RequestDeadline}, {"lease", c.Lease},
		{"maximum-age", c.MaximumAge}, {"drain-time", c.DrainTime}, {"verification time", c.VerifyFor},
		{"shortest wait", c.WaitBase}, {"shortest back-off", c.RestBase}, {"longest throttle time", c.LimitCap}, {"shortest token check", c.TokenCheckBase}, {"shortest time between verifications", c.VerificationBase},
	} {
		bad(d.value <= 0, "%s is %v: must be above 0", d.setting, d.value)
	}
	bad(c.VerifyEvery != onboarding.NoVerifyEvery && c.VerifyEvery < time.Minute, "verify-every is %v: off, or at least 1m", c.VerifyEvery)
	bad(c.DestroyAfter != onboarding.NeverDestroy && c.DestroyAfter < time.Second, "destroy-after is %v: 0s for never, or at least 1s", c.DestroyAfter)
	if err := onboarding.CheckRemindAfter(c.RemindAfter); err != nil {
		errs = append(errs, fmt.Errorf("engine: remind-after %w", err))
	}
	bad(c.RequestDeadline >= c.Lease, "request-deadline is %v: must be shorter than the lease (%v), or a call could outlive its claim", c.RequestDeadline, c.Lease)
	bad(c.AddressCoolDown < 0 || c.AddressCoolDown >= c.MaximumAge, "address-cool-down is %v: 0 for none, else shorter than maximum-age (%v), or what waits for it expires", c.AddressCoolDown, c.MaximumAge)
	bad(c.WaitCap < c.WaitBase, "the longest wait is %v: at least the shortest (%v)", c.WaitCap, c.WaitBase)
	bad(c.RestCap < c.RestBase, "the longest back-off is %v: at least the shortest (%v)", c.RestCap, c.RestBase)
	bad(c.TokenCheckCap < c.TokenCheckBase, "the longest time between token checks is %v: at least the shortest (%v)", c.TokenCheckCap, c.TokenCheckBase)
	bad(c.VerificationCap < c.VerificationBase, "the longest time between verifications is %v: at least the shortest (%v)", c.VerificationCap, c.VerificationBase)
	if _, err := schemas.ParseFormat(string(c.Format)); err != nil {
		errs = append(errs, fmt.Errorf("engine: event-format: %w", err))
	}
	return errors.Join(errs...)
}

// sendBy is how long after BeginAttempt a request may still be written: a part of what
// the lease leaves beside the call itself.
func (c Config) sendBy() time.Duration {
	return min(10*time.Second, (c.Lease-c.RequestDeadline)/2)
}

// checkDeadline bounds the check of a new token: it holds the shop's lane.
func (c Config) checkDeadline() time.Duration { return min(10*time.Second, c.RequestDeadline) }

func (c Config) egress() journal.Permit {
	return journal.Permit{RateLimit: EgressLedger, Limit: c.EgressRequests, Window: c.EgressWindow, Slack: c.Slack}
}

func (c Config) ledger(a Account) journal.Permit {
	return journal.Permit{RateLimit: "account/" + a.Name, Limit: a.Requests, Window: a.Window, Slack: c.Slack}
}

func (c Config) breaker(a Account) breaker.Config {
	return breaker.Config{
		Account: a.Name, Concurrency: c.Concurrency, LimitCap: c.LimitCap, RestBase: c.RestBase, RestCap: c.RestCap,
		TokenCheckBase: c.TokenCheckBase, TokenCheckCap: c.TokenCheckCap, Unproven: a.Unproven,
	}
}
