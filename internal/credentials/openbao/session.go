package openbao

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"invoicebox-worker/internal/secret"
)

const (
	// renewAgain is the wait after a failed renewal or log-in.
	renewAgain = 5 * time.Second
	// loginWithin bounds a log-in or a renewal.
	loginWithin = 10 * time.Second
	// fileEvery is how often the file of a token is checked.
	fileEvery = 2 * time.Second
)

// A session has the token that the store uses. It logs in at first use and when the token
// has ended; [session.keep] renews the token before that.
type session struct {
	login  Login
	client *api.Client // has the token
	anon   *api.Client // has none
	ask    asker
	log    *slog.Logger

	// lock protects the following fields. It is a channel, so that a wait for it ends with
	// the waiter's context.
	lock      chan struct{}
	token     secret.String
	renewable bool
	began     time.Time     // of the lease, at its last renewal
	ttl       time.Duration // 0: the token does not end
	whole     time.Duration // the lease at log-in
	changed   chan struct{} // gets a value when there is a new token
}

// asker runs one request and counts it.
type asker func(ctx context.Context, operation, path string, f func(context.Context) (*api.Secret, error)) (*api.Secret, error)

func newSession(login Login, client, anon *api.Client, ask asker, log *slog.Logger) *session {
	return &session{login: login, client: client, anon: anon, ask: ask, log: log, lock: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

func (s *session) acquire(ctx context.Context) error {
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &RequestError{Operation: "login", Fault: FaultTimeout}
	}
}

func (s *session) release() { <-s.lock }

// ready returns a token that is expected to be valid, and logs in if there is none.
func (s *session) ready(ctx context.Context) (secret.String, error) {
	if err := s.acquire(ctx); err != nil {
		return secret.String{}, err
	}
	defer s.release()
	if s.login.token != nil {
		if given := s.login.token(); s.token.IsZero() || !given.Equal(s.token) {
			s.use(given, false, 0)
			// The result is needed only to renew the token.
			s.lookUp(ctx)
		}
		return s.token, nil
	}
	if !s.token.IsZero() && (s.ttl == 0 || time.Since(s.began) < s.ttl) {
		return s.token, nil
	}
	return s.token, s.logIn(ctx)
}

// use sets the token. The lock is held.
func (s *session) use(token secret.String, renewable bool, ttl time.Duration) {
	s.token, s.renewable, s.ttl, s.whole, s.began = token, renewable, ttl, ttl, time.Now()
	s.client.SetToken(token.Reveal())
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *session) logIn(ctx context.Context) error {
	path := "auth/" + s.login.mount + "/login"
	answer, err := s.ask(ctx, "login", path, func(ctx context.Context) (*api.Secret, error) {
		return s.anon.Logical().WriteWithContext(ctx, path, s.login.body())
	})
	if err != nil {
		return err
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return &RequestError{Operation: "login", Path: path, Fault: FaultAnswer}
	}
	s.use(secret.New(answer.Auth.ClientToken), answer.Auth.Renewable, time.Duration(answer.Auth.LeaseDuration)*time.Second)
	s.log.Info("logged in to the credential store", "method", s.login.method, "lease", s.ttl.String(), "renewable", s.renewable)
	return nil
}

// lookUp reads how long the token is valid. It ignores an error, because a valid token may
// lack the right to look itself up.
func (s *session) lookUp(ctx context.Context) {
	answer, err := s.ask(ctx, "lookup", "auth/token/lookup-self", func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().ReadWithContext(ctx, "auth/token/lookup-self")
	})
	if err != nil || answer == nil {
		return
	}
	s.renewable, _ = answer.TokenIsRenewable()
	s.ttl, _ = answer.TokenTTL()
	s.whole = s.ttl
}

// denied is called with the token of a request that was denied. It reports whether there
// is another token now, with which the request can be repeated: it was not executed.
func (s *session) denied(ctx context.Context, used secret.String) bool {
	if s.acquire(ctx) != nil {
		return false
	}
	defer s.release()
	if !used.Equal(s.token) {
		return true // another caller has replaced it
	}
	if s.login.token != nil {
		return false
	}
	// A token that is still valid lacks a right: another log-in would not help.
	_, err := s.ask(ctx, "lookup", "auth/token/lookup-self", func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().ReadWithContext(ctx, "auth/token/lookup-self")
	})
	if faultOf(err) != FaultDenied {
		return false
	}
	return s.logIn(ctx) == nil
}

// keep renews the token until ctx ends.
func (s *session) keep(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-timer.C:
		}
		timer.Reset(s.renewWhenDue(ctx))
	}
}

// renewWhenDue renews the token or logs in when it is due, and returns when to check again.
func (s *session) renewWhenDue(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, loginWithin)
	defer cancel()
	if _, err := s.ready(ctx); err != nil {
		s.log.Warn("the credential store gives no token; it is tried again", "method", s.login.method, "err", err)
		return renewAgain
	}
	if s.acquire(ctx) != nil {
		return renewAgain
	}
	defer s.release()
	due := s.due()
	if wait := time.Until(due); !due.IsZero() && wait > 0 {
		return s.within(wait)
	}
	if due.IsZero() {
		return s.within(time.Minute)
	}
	if s.renewable && s.renew(ctx) {
		return s.within(max(time.Until(s.due()), time.Second))
	}
	if s.login.token != nil {
		return s.within(renewAgain)
	}
	if err := s.logIn(ctx); err != nil {
		s.log.Warn("the credential store gives no token; it is tried again", "method", s.login.method, "err", err)
	}
	return renewAgain
}

// within limits a wait to the interval at which the file of a token is checked.
func (s *session) within(wait time.Duration) time.Duration {
	if s.login.token != nil {
		return min(wait, fileEvery)
	}
	return wait
}

// due is when the token is to be renewed or replaced; zero: never.
func (s *session) due() time.Time {
	if s.ttl == 0 || s.login.token != nil && !s.renewable {
		return time.Time{}
	}
	return s.began.Add(s.ttl * 2 / 3)
}

// renew extends the lease. False: a log-in is needed, because the lease reaches its
// longest life or cannot be renewed.
func (s *session) renew(ctx context.Context) bool {
	answer, err := s.ask(ctx, "renew", "auth/token/renew-self", func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().WriteWithContext(ctx, "auth/token/renew-self", map[string]any{"increment": int(s.whole.Seconds())})
	})
	if err != nil || answer == nil || answer.Auth == nil {
		words := "unexpected answer"
		if err != nil {
			words = err.Error()
		}
		s.log.Warn("the lease of the credential store's token cannot be renewed", "method", s.login.method, "err", strings.TrimSpace(words))
		return false
	}
	s.began, s.ttl = time.Now(), time.Duration(answer.Auth.LeaseDuration)*time.Second
	// Near its longest life each renewal of a token is shorter than the one before.
	return s.login.token != nil || s.ttl >= s.whole/3
}
