package openbao

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"invoicebox-worker/internal/loopback"
)

// A connection sends requests with a token that it renews. It is safe for concurrent use.
type connection struct {
	client  *api.Client
	session *session
	metrics *Metrics
	address string
}

// connect creates a connection. It sends nothing.
func connect(c Config) (*connection, error) {
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	conn := &connection{metrics: c.Metrics}
	var anon *api.Client
	for _, client := range []**api.Client{&conn.client, &anon} {
		var err error
		if *client, err = newClient(c); err != nil {
			return nil, err
		}
	}
	conn.address = conn.client.Address()
	conn.session = newSession(c.Login, conn.client, anon, conn.ask, c.Logger)
	return conn, nil
}

func newClient(c Config) (*api.Client, error) {
	settings := api.DefaultConfig()
	if settings.Error != nil {
		return nil, fmt.Errorf("a variable BAO_… or VAULT_… cannot be used: %w", settings.Error)
	}
	settings.MaxRetries, settings.Timeout, settings.DisableRedirects = 0, requestWithin, true
	if c.Address != "" {
		settings.Address, settings.AgentAddress = c.Address, ""
	}
	if c.CAFile != "" {
		if err := settings.ConfigureTLS(&api.TLSConfig{CACert: c.CAFile}); err != nil {
			return nil, fmt.Errorf("%s cannot be used: %w", c.CAFile, err)
		}
	}
	if transport, ok := settings.HttpClient.Transport.(*http.Transport); ok && strings.HasPrefix(strings.ToLower(settings.Address), "http:") {
		// Without TLS the token must not leave this machine, through a proxy or by the resolver's
		// address for the name localhost.
		transport.Proxy = nil
		transport.DialContext = loopback.WrapDial(transport.DialContext)
	}
	client, err := api.NewClient(settings)
	if err != nil {
		return nil, fmt.Errorf("credential store: %w", err)
	}
	client.ClearToken()
	// The library takes a redirect for a success.
	settings.HttpClient.CheckRedirect = refuseRedirect
	if c.Namespace != "" {
		client.SetNamespace(c.Namespace)
	}
	return client, nil
}

// Address returns the address of the server.
func (c *connection) Address() string { return c.address }

// Keep renews the token until ctx ends. Without it an expired token is replaced, if the
// connection can log in.
func (c *connection) Keep(ctx context.Context) error {
	c.session.keep(ctx)
	return nil
}

// ask runs one request and counts it.
func (c *connection) ask(ctx context.Context, operation, path string, f func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	began := time.Now()
	answer, err := f(ctx)
	err = explain(operation, path, err)
	c.metrics.countRequest(operation, faultOf(err), time.Since(began))
	return answer, err
}

// request is ask with a token. If the token had ended, it repeats the request once with
// another one: a denied request was not executed.
func (c *connection) request(ctx context.Context, operation, path string, f func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	for again := false; ; again = true {
		token, err := c.session.ready(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := c.ask(ctx, operation, path, f)
		if faultOf(err) != FaultDenied || again || !c.session.denied(ctx, token) {
			return answer, err
		}
	}
}
