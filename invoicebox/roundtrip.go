package invoicebox

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// wire is the http.RoundTripper below the retry loop of one call. It writes the request
// once, reads the whole response into the call, and returns only the status to the loop.
// See doc.go for why it is not an http.Transport.
type wire struct {
	t *Transport
	k *call
}

// maxInterim bounds the 1xx responses before the real one.
const maxInterim = 5

// RoundTrip implements http.RoundTripper.
func (w wire) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	k := w.k
	k.exchange.Tries++
	k.reason, k.detail, k.cause = ReasonNone, "", nil
	k.connectFailure, k.proxy = ConnectNoFailure, false

	if k.sendByPassed() {
		return nil, k.failSendBy()
	}
	c, err := w.connect(ctx, targetOf(req.URL))
	if err != nil {
		return nil, k.failDial(ctx, err)
	}
	stop := context.AfterFunc(ctx, c.abort)
	reusable, err := w.exchange(ctx, c, req)
	if stop() && reusable {
		w.t.put(c)
	} else {
		c.abort()
	}
	k.exchange.Finished = time.Now()
	if err != nil && k.exchange.Status == 0 {
		return nil, err
	}
	return &http.Response{StatusCode: k.exchange.Status, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// connect gets a connection before the send-by instant. A second try takes a
// new one: what spoiled one idle connection has likely spoiled the others.
func (w wire) connect(ctx context.Context, to target) (*conn, error) {
	k := w.k
	if k.exchange.Tries == 1 {
		if c := w.t.take(to, k.maxIdle); c != nil {
			return c, nil
		}
	}
	if !k.sendBy.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, k.sendBy)
		defer cancel()
	}
	return w.t.dial(ctx, to)
}

// exchange writes the request and reads its response. It tells whether the
// connection can carry another request.
func (w wire) exchange(ctx context.Context, c *conn, req *http.Request) (bool, error) {
	k := w.k
	// The last look at the clock before the bytes go: nothing blocks between
	// here and the write.
	if ctx.Err() != nil {
		return false, k.failContext(ctx)
	}
	if k.sendByPassed() {
		return false, k.failSendBy()
	}
	n, err := c.send(k.request)
	k.exchange.Written += n
	if err != nil {
		return false, k.failIO(ctx, err)
	}
	c.left = maxHeaderBytes
	resp, err := readHead(k, c, req) //nolint:bodyclose // see readBody
	if err != nil {
		return false, k.failIO(ctx, err)
	}
	k.answered(resp)
	complete, err := k.readBody(c, resp)
	if err != nil {
		err = k.failIO(ctx, err)
		if k.reason == ReasonLost || k.reason == ReasonReset || k.reason == ReasonNotHTTP {
			k.reason = ReasonBodyCut
		}
		return false, err
	}
	return complete && !resp.Close && resp.StatusCode >= 200 && c.reader.Buffered() == 0, nil
}

// readHead reads the head of the response and goes past interim ones.
func readHead(k *call, c *conn, req *http.Request) (*http.Response, error) {
	for range maxInterim + 1 {
		begin, err := c.reader.Peek(len("HTTP/1.1 200 "))
		status := statusOf(begin)
		if status >= 200 {
			k.exchange.Status = status
		}
		if err != nil {
			return nil, headProblem(c, err)
		}
		resp, err := http.ReadResponse(c.reader, req)
		if err != nil {
			return nil, headProblem(c, err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, &headerError{ReasonNotHTTP}
}

// headProblem tells a connection that ended from a response that is not HTTP.
// The texts of net/http quote the response and go no further.
func headProblem(c *conn, err error) error {
	switch {
	case errors.Is(err, errBound):
		return &headerError{ReasonHeaderLarge}
	case c.ended != nil:
		return c.ended
	}
	return &headerError{ReasonNotHTTP}
}

// readBody reads the body up to its bound.
func (k *call) readBody(c *conn, resp *http.Response) (complete bool, err error) {
	// resp.Body is never closed: that would read what is left of a body. The
	// connection is closed instead, and nothing else hangs on it.
	x := &k.exchange
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return false, nil
	}
	// Room for the body and for how it may be chunked, in place of what was
	// left for the headers.
	limit := int64(k.maxBody)
	c.left = 8*limit + maxHeaderBytes
	if resp.ContentLength > 0 && resp.ContentLength <= limit {
		x.Body = make([]byte, resp.ContentLength)
		n, err := io.ReadFull(resp.Body, x.Body)
		x.Body = x.Body[:n]
		x.BodyComplete = err == nil
		return x.BodyComplete, err
	}
	x.Body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case int64(len(x.Body)) > limit, errors.Is(err, errBound):
		x.Body, x.TooLarge = x.Body[:min(len(x.Body), k.maxBody)], true
		_ = k.fail(ReasonBodyLarge, "", nil)
		return false, nil
	case err != nil:
		return false, err
	}
	x.BodyComplete = true
	return true, nil
}
