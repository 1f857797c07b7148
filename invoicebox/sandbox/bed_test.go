package sandbox_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"invoicebox-worker/invoicebox/sandbox"
)

// A bed is a sandbox behind a server, and a client for it.
type bed struct {
	*sandbox.Sandbox
	t      testing.TB
	client *http.Client
	base   string
}

func newSandbox(t testing.TB, o sandbox.Options) *sandbox.Sandbox {
	t.Helper()
	if o.Profile == "" {
		o.Profile = sandbox.Calm
	}
	sb, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

// onTCP serves a sandbox on a real socket.
func onTCP(t testing.TB, o sandbox.Options) *bed {
	t.Helper()
	sb := newSandbox(t, o)
	srv := httptest.NewServer(sb.API())
	t.Cleanup(srv.Close)
	return &bed{sb, t, withoutRedirects(srv.Client()), srv.URL}
}

// onTLS serves a sandbox on a real socket, with https.
func onTLS(t testing.TB, o sandbox.Options) *bed {
	t.Helper()
	sb := newSandbox(t, o)
	srv := httptest.NewTLSServer(sb.API())
	t.Cleanup(srv.Close)
	return &bed{sb, t, withoutRedirects(srv.Client()), srv.URL}
}

func withoutRedirects(c *http.Client) *http.Client {
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// inBubble serves a sandbox over pipes, for virtual time. stop must be called
// before the bubble ends.
func inBubble(t testing.TB, o sandbox.Options) (b *bed, stop func()) {
	t.Helper()
	sb := newSandbox(t, o)
	l := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	srv := &http.Server{Handler: sb.API()}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return l.dial() }}
	return &bed{sb, t, withoutRedirects(&http.Client{Transport: tr}), "http://sandbox"}, func() {
		tr.CloseIdleConnections()
		_ = srv.Close()
		<-served
	}
}

// pipes is a listener without a network.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) dial() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.accept <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// A reply is what a client got.
type reply struct {
	status  int
	header  http.Header
	body    string
	err     error // of the call: nothing came
	bodyErr error // of reading the body
}

func (b *bed) do(method, path, body string, change func(*http.Request)) reply {
	b.t.Helper()
	req, err := http.NewRequest(method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+sandbox.DefaultToken)
	req.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(req)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text), nil, err}
}

func (b *bed) invite(address string) reply {
	b.t.Helper()
	return b.do("POST", sandbox.InvitePath, `{"partnerId":`+quoted(sandbox.DefaultPartnerID)+`,"type":"email","identifier":`+quoted(address)+`}`, nil)
}

func (b *bed) activate(code string) reply { b.t.Helper(); return b.activateAs(code, nil) }

func (b *bed) activateAs(code string, change func(*http.Request)) reply {
	b.t.Helper()
	return b.do("POST", sandbox.ActivatePath, activation(sandbox.DefaultPartnerID, code), change)
}

func (b *bed) check(token string) reply {
	b.t.Helper()
	return b.do("GET", sandbox.CheckPath, "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
}

func activation(partner, code string) string {
	return `{"partnerId":` + quoted(partner) + `,"activationCode":` + quoted(code) + `}`
}

func quoted(s string) string {
	b, _ := jsontext.AppendQuote(nil, s)
	return string(b)
}

// document is any answer of the API.
type document struct {
	Data *struct {
		ID         jsontext.Value `json:"id"`
		MerchantID string         `json:"merchantId"`
		Token      string         `json:"token"`
		UserID     *string        `json:"userId"`
	} `json:"data"`
	Error *struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Fields  []struct {
			Name    string `json:"name"`
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"fields"`
	} `json:"error"`
	Message string `json:"message"`
	Code    string `json:"code"`
}

func (r reply) document(t testing.TB) document {
	t.Helper()
	var d document
	if r.err != nil || r.bodyErr != nil {
		t.Fatalf("no whole response: %v %v", r.err, r.bodyErr)
	}
	if err := json.Unmarshal([]byte(r.body), &d); err != nil {
		t.Fatalf("status %d, body %q: %v", r.status, r.body, err)
	}
	return d
}

// code is error.code, "" where there is none.
func (r reply) code(t testing.TB) string {
	t.Helper()
	if d := r.document(t); d.Error != nil {
		return d.Error.Code
	}
	return ""
}

func (b *bed) activation(code string) sandbox.ActivationEffects {
	for _, a := range b.Effects().Activations {
		if a.Code == code {
			return a
		}
	}
	return sandbox.ActivationEffects{}
}

func (b *bed) invitation(address string) sandbox.InvitationEffects {
	for _, i := range b.Effects().Invitations {
		if i.Identifier == address {
			return i
		}
	}
	return sandbox.InvitationEffects{}
}

// isGone tells whether an error speaks of a connection that ended too early.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || (err != nil && strings.Contains(err.Error(), "reset by peer")) || errors.Is(err, io.ErrClosedPipe)
}
