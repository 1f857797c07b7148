package invoicebox

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/go-retryablehttp"

	"invoicebox-worker/internal/secret"
)

// The API's paths below the base URL.
const (
	pathInvite   = "/v3/notification/api/invite"
	pathActivate = "/v3/billing/api/merchant/merchant-integration-setting/activation"
	pathCheck    = "/v3/security/api/auth/auth"
)

// Bounds of what a call sends, in bytes. The API's own are smaller.
const (
	maxValueBytes = 1 << 10
	maxTokenBytes = 4 << 10
	minHidden     = 4
)

// A Client calls the API for one account. It is safe for concurrent use.
type Client struct {
	options   Options
	signer    *signer
	transport *Transport
	owned     bool
	closed    atomic.Bool

	urls  [CheckOwn + 1]*url.URL
	heads [CheckOwn + 1][]byte // begins of requests: all that is the same in each
	// What the bodies have in common, quoted once.
	inviteBegin, activateBegin []byte
}

// New makes a client. All that is wrong with the options is told in one error.
func New(o Options) (*Client, error) {
	o, base, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, transport: o.Transport}
	if o.Signing != nil {
		if c.signer, err = newSigner(*o.Signing); err != nil {
			return nil, err
		}
	}
	if c.transport == nil {
		c.transport, c.owned = NewTransport(TransportOptions{}), true
	}
	c.urls[Invite] = base.JoinPath(pathInvite)
	c.urls[Activate] = base.JoinPath(pathActivate)
	c.urls[Check] = base.JoinPath(pathCheck)
	c.urls[CheckOwn] = c.urls[Check]
	for op := Invite; op <= CheckOwn; op++ {
		if c.heads[op], err = headOf(op, c.urls[op], o.UserAgent); err != nil {
			return nil, err
		}
	}
	partner, err := jsontext.AppendQuote(nil, o.PartnerID)
	if err != nil {
		return nil, err
	}
	c.inviteBegin = append(append([]byte(`{"partnerId":`), partner...), `,"type":"email","identifier":`...)
	c.activateBegin = append(append([]byte(`{"partnerId":`), partner...), `,"activationCode":`...)
	return c, nil
}

// headOf lets net/http write what the requests of an operation have in common: the
// request line, and the headers without the empty line behind them.
func headOf(op Operation, u *url.URL, userAgent string) ([]byte, error) {
	var b bytes.Buffer
	// A GET, because a POST has a Content-Length.
	plain := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Accept": {"application/json"},
		// Without it any content coding would be acceptable.
		"Accept-Encoding": {"identity"},
		"User-Agent":      {userAgent},
	}}
	if err := plain.Write(&b); err != nil {
		return nil, errors.New("invoicebox: the address cannot be put into a request")
	}
	head := bytes.TrimSuffix(b.Bytes(), []byte("\r\n"))
	if op == Invite || op == Activate {
		head = append([]byte(http.MethodPost), head[len(http.MethodGet):]...)
		head = append(head, "Content-Type: application/json\r\n"...)
	}
	return head, nil
}

// append appends the bytes of a request. What it puts into headers was checked: it
// has no line ends.
func (c *Client) append(to []byte, r request, signature string) []byte {
	to = append(to, c.heads[r.op]...)
	to = append(append(append(to, "Authorization: Bearer "...), r.token.Reveal()...), "\r\n"...)
	if signature != "" {
		to = append(append(append(to, "X-Signature: "...), signature...), "\r\n"...)
	}
	if r.body != nil {
		to = append(strconv.AppendInt(append(to, "Content-Length: "...), int64(len(r.body)), 10), "\r\n"...)
	}
	return append(append(to, "\r\n"...), r.body...)
}

// Close refuses further calls; those under way go on. The connections of a
// transport that was given in Options stay open.
func (c *Client) Close() {
	c.closed.Store(true)
	if c.owned {
		c.transport.Close()
	}
}

// Invite asks Invoicebox to send the shop at this address a registration link.
// Each invitation that is executed sends an e-mail.
func (c *Client) Invite(ctx context.Context, a CallOptions, email secret.String) Exchange {
	return c.post(ctx, Invite, a, c.inviteBegin, email)
}

// Activate trades the code for the shop's merchant id and token. The response may
// come only once: keep the exchange (see [Exchange.MarshalReceipt]) before
// anything else is done with it.
func (c *Client) Activate(ctx context.Context, a CallOptions, code secret.String) Exchange {
	return c.post(ctx, Activate, a, c.activateBegin, code)
}

// CheckToken asks whether a shop's token is good. It changes nothing, goes out
// with that token only, and is not signed: the signing key is the partner's.
func (c *Client) CheckToken(ctx context.Context, a CallOptions, token secret.String) Exchange {
	if t := token.Reveal(); !visible(t) || len(t) > maxTokenBytes {
		return failed(Check, ReasonValue, "the token is empty, too long or has characters that no header may have")
	}
	return c.do(ctx, a, request{op: Check, token: token})
}

// CheckOwnToken asks whether the partner's own token is good. It changes nothing.
func (c *Client) CheckOwnToken(ctx context.Context) Exchange {
	token, x := c.ownToken(CheckOwn)
	if x.Err != nil {
		return x
	}
	return c.do(ctx, CallOptions{}, request{op: CheckOwn, token: token})
}

// post makes one of the two calls that have an effect.
func (c *Client) post(ctx context.Context, op Operation, a CallOptions, begin []byte, value secret.String) Exchange {
	text := value.Reveal()
	if !sendable(text) {
		return failed(op, ReasonValue, "the value is empty, too long or not UTF-8")
	}
	token, x := c.ownToken(op)
	if x.Err != nil {
		return x
	}
	body := make([]byte, 0, len(begin)+len(text)+8)
	body, err := jsontext.AppendQuote(append(body, begin...), text)
	if err != nil {
		return failed(op, ReasonValue, "the value is not UTF-8")
	}
	return c.do(ctx, a, request{op: op, token: token, body: append(body, '}'), value: text})
}

// ownToken reads the partner's token and refuses one that would break a header.
func (c *Client) ownToken(op Operation) (secret.String, Exchange) {
	token := c.options.Token()
	if t := token.Reveal(); !visible(t) || len(t) > maxTokenBytes {
		return token, failed(op, ReasonSetting, "Token is empty, too long or has spaces, line ends or other characters that no header may have")
	}
	return token, Exchange{}
}

// A request is one call that is ready to be sent.
type request struct {
	op    Operation
	token secret.String
	body  []byte
	value string // the secret in the body
}

func (c *Client) do(parent context.Context, a CallOptions, r request) Exchange {
	if c.closed.Load() {
		return failed(r.op, ReasonClosed, "")
	}
	k := &call{
		op:       r.op,
		sendBy:   a.SendBy,
		maxBody:  c.options.MaxResponseBytes,
		maxIdle:  maxIdleRead,
		exchange: Exchange{Operation: r.op, Started: time.Now()},
	}
	if r.body != nil {
		k.maxIdle = maxIdleWrite
	}
	signature := ""
	if c.signer != nil && r.op != Check {
		var ok bool
		if signature, ok = c.signer.sign(r.body); !ok {
			return failed(r.op, ReasonSetting, "Signing.Key is empty")
		}
	}
	buffer := c.transport.buffers.Get().(*[]byte)
	defer c.transport.buffers.Put(buffer)
	*buffer = c.append((*buffer)[:0], r, signature)
	k.request = *buffer
	ctx, cancel := context.WithTimeout(parent, c.options.Deadline)
	defer cancel()
	u := c.urls[r.op]
	// For the layers between, that need one: the call has the request.
	plain := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
	if r.body != nil {
		plain.Method = http.MethodPost
	}
	ctx, span := startSpan(ctx, r.op, plain.Method, u)
	req := &retryablehttp.Request{Request: plain.WithContext(ctx)}
	// The call itself keeps what happened; the errors of the layers between
	// quote addresses and may quote responses.
	if resp, err := newRetryClient(c.transport, k).Do(req); err == nil {
		_ = resp.Body.Close()
	}
	x := k.finish(ctx)
	x.hide(r.token.Reveal(), r.value)
	endSpan(span, &x)
	c.log(ctx, x)
	return x
}

// hide takes out of the exchange what repeats a secret of the request, where it
// would be shown: a response is written by others.
//
// Shorter ones than minHidden would be found in everything.
func (x *Exchange) hide(secrets ...string) {
	var body []byte
	if !x.Success() {
		// Written as \u0041, a letter would be missed by the comparison below.
		body, _ = x.unpacked()
		body = bytes.ToLower(body)
		x.EchoesSecret = bytes.Contains(body, []byte(`\u00`))
	}
	for _, s := range secrets {
		if len(s) < minHidden {
			continue
		}
		if strings.Contains(x.RequestID, s) {
			x.RequestID = ""
			x.Header.Del("X-Request-Id")
		}
		if bytes.Contains(body, bytes.ToLower([]byte(s))) {
			x.EchoesSecret = true
		}
	}
}

func (c *Client) log(ctx context.Context, x Exchange) {
	l := c.options.Logger
	if l == nil || !l.Enabled(ctx, slog.LevelDebug) {
		return
	}
	l.LogAttrs(ctx, slog.LevelDebug, "called Invoicebox", slog.Any("call", x))
}

// failed is an exchange that never reached the network.
func failed(op Operation, reason Reason, detail string) Exchange {
	now := time.Now()
	return Exchange{Operation: op, Started: now, Finished: now, Err: &Error{Operation: op, Reason: reason, detail: detail}}
}
