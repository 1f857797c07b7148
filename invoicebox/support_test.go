package invoicebox_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// Values that are found again wherever they leak to.
const (
	markedToken     = "MARKED-token-7f3a9c"
	markedCode      = "MARKED-code-143232423434"
	markedEmail     = "marked-shop@leak.example"
	markedShopToken = "MARKED-shop-token-e1d5"
	markedKey       = "MARKED-signing-key-55"
	markedPassword  = "MARKED-proxy-password"
	partnerID       = "ffffffff-ffff-ffff-ffff-ffffffffffff"
)

var marked = []string{markedToken, markedCode, markedEmail, markedShopToken, markedKey, markedPassword}

// leaks gives the marked values in text, in the forms in which they could hide.
func leaks(text string) []string {
	var found []string
	lower := strings.ToLower(text)
	for _, m := range marked {
		for _, form := range []string{m, hex.EncodeToString([]byte(m)), base64.StdEncoding.EncodeToString([]byte(m)), base64.RawURLEncoding.EncodeToString([]byte(m))} {
			if strings.Contains(lower, strings.ToLower(form)) {
				found = append(found, form)
			}
		}
	}
	return found
}

// mustNotLeak prints everything of a call that may be printed and looks for the
// marked values. The body is the caller's to seal.
func mustNotLeak(t *testing.T, x invoicebox.Exchange, log string) {
	t.Helper()
	v := invoicebox.Classify(x)
	_, errInvitation := invoicebox.ParseInvitation(x)
	_, errActivation := invoicebox.ParseActivation(x)
	_, errCheck := invoicebox.ParseCheck(x)
	shown := fmt.Sprintf("%+v %#v %s %q %v %v %v", v, v, x.RequestID, x.Header, errInvitation, errActivation, errCheck)
	shown += fmt.Sprintf("%v %+v %#v %s %q %x %v", x, x, x, x, &x, x, []invoicebox.Exchange{x})
	for err := x.Err; err != nil; err = errors.Unwrap(err) {
		shown += fmt.Sprintf(" %v %+v %s", err, err, err.Error())
	}
	if found := leaks(shown + log); found != nil {
		t.Errorf("secrets are shown: %q in %s %s", found, shown, log)
	}
}

// logs is a log that can be read while it is written.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// options are good ones for a client with the marked values.
func options(base string, t *invoicebox.Transport) invoicebox.Options {
	return invoicebox.Options{
		BaseURL:   base,
		PartnerID: partnerID,
		Token:     func() secret.String { return secret.New(markedToken) },
		Signing:   &invoicebox.Signing{Key: func() secret.String { return secret.New(markedKey) }},
		Transport: t,
	}
}

// newClient makes a client that is closed with the test, and its log.
func newClient(t *testing.T, o invoicebox.Options) (*invoicebox.Client, *logs) {
	t.Helper()
	log := new(logs)
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.Transport == nil {
		o.Transport = invoicebox.NewTransport(invoicebox.TransportOptions{})
	}
	transport := o.Transport
	c, err := invoicebox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		transport.Close()
	})
	return c, log
}

// perform makes the call that an operation is, with marked values.
func perform(ctx context.Context, c *invoicebox.Client, op invoicebox.Operation, a invoicebox.CallOptions) invoicebox.Exchange {
	switch op {
	case invoicebox.Invite:
		return c.Invite(ctx, a, secret.New(markedEmail))
	case invoicebox.Activate:
		return c.Activate(ctx, a, secret.New(markedCode))
	case invoicebox.Check:
		return c.CheckToken(ctx, a, secret.New(markedShopToken))
	default:
		return c.CheckOwnToken(ctx)
	}
}

// A memory is a server in memory: it runs in a bubble of virtual time. Each
// connection is served by handle in a goroutine of its own.
type memory struct {
	handle   func(s *served)
	dials    atomic.Int64
	requests atomic.Int64
	bytes    atomic.Int64
	wait     sync.WaitGroup
}

// A served is the server's end of one connection.
type served struct {
	net.Conn
	m      *memory
	number int // of the connection, from 1
	reader *bufio.Reader
}

func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	n := int(m.dials.Add(1))
	m.wait.Go(func() {
		defer func() { _ = far.Close() }()
		counted := &countingConn{far, &m.bytes}
		m.handle(&served{Conn: counted, m: m, number: n, reader: bufio.NewReader(counted)})
	})
	return near, nil
}

func (m *memory) transport() *invoicebox.Transport {
	return invoicebox.NewTransport(invoicebox.TransportOptions{Dial: m.dial})
}

// request reads one request whole; false where there is none.
func (s *served) request() (*http.Request, []byte, bool) {
	req, err := http.ReadRequest(s.reader)
	if err != nil {
		return nil, nil, false
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, nil, false
	}
	s.m.requests.Add(1)
	return req, body, true
}

func (s *served) say(text string) bool {
	_, err := io.WriteString(s.Conn, text)
	return err == nil
}

// hold keeps the connection until the other side closes it.
func (s *served) hold() { _, _ = io.Copy(io.Discard, s.reader) }

type countingConn struct {
	net.Conn
	read *atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// answer makes a response with a length.
func answer(status int, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nX-Request-Id: req-1\r\nContent-Length: %d\r\n", status, http.StatusText(status), len(body))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

// Good responses.
const (
	goodInvite   = `{"data":{"id":123},"extendedData":[]}`
	goodActivate = `{"data":{"merchantId":"` + partnerID + `","token":"` + markedShopToken + `"}}`
	goodCheck    = `{"data":{"userId":"42","profile":null},"extendedData":[]}`
)

func good(op invoicebox.Operation) string {
	switch op {
	case invoicebox.Invite:
		return goodInvite
	case invoicebox.Activate:
		return goodActivate
	default:
		return goodCheck
	}
}
