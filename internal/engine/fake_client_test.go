package engine

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// An answer is what the scripted API gives to one call.
type answer struct {
	status int
	body   string
	header http.Header
	fail   invoicebox.Reason // instead of an answer
	unsent bool              // with fail: nothing was written
	cut    bool              // the body is not complete
	after  time.Duration     // beside the latency of all calls
}

// A script decides by operation, value and how often it was asked before.
type script func(op invoicebox.Operation, value string, n int) answer

// fakeClient is an API in virtual time that counts what it is asked.
type fakeClient struct {
	script  script
	latency time.Duration

	mu       sync.Mutex
	calls    []fakeCall
	inFlight int
	peak     int
}

type fakeCall struct {
	op       invoicebox.Operation
	value    string
	at       time.Time
	end      time.Time
	finished bool
}

func good(op invoicebox.Operation, value string, _ int) answer {
	switch op {
	case invoicebox.Invite:
		return answer{status: 200, body: `{"data":{"id":"inv-1"}}`}
	case invoicebox.Activate:
		return answer{status: 200, body: fmt.Sprintf(`{"data":{"merchantId":"m-%s","token":"token-%s"}}`, value, value)}
	}
	return answer{status: 200, body: `{"data":{"userId":"u-1"}}`}
}

func refusal(status int) answer {
	return answer{status: status, body: `{"error":{"code":"not_usable","message":"no"}}`}
}

func (c *fakeClient) Invite(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	return c.do(ctx, invoicebox.Invite, a, v)
}

func (c *fakeClient) Activate(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	return c.do(ctx, invoicebox.Activate, a, v)
}

func (c *fakeClient) CheckToken(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	return c.do(ctx, invoicebox.Check, a, v)
}

func (c *fakeClient) CheckOwnToken(ctx context.Context) invoicebox.Exchange {
	return c.do(ctx, invoicebox.CheckOwn, invoicebox.CallOptions{}, secret.String{})
}

func (c *fakeClient) do(ctx context.Context, op invoicebox.Operation, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	x := invoicebox.Exchange{Operation: op, Started: time.Now(), RequestID: "request-1"}
	fail := func(r invoicebox.Reason) invoicebox.Exchange {
		x.Finished, x.Err = time.Now(), &invoicebox.Error{Operation: op, Reason: r}
		return x
	}
	if !a.SendBy.IsZero() && !time.Now().Before(a.SendBy) {
		return fail(invoicebox.ReasonSendBy)
	}
	c.mu.Lock()
	n := 0
	for _, k := range c.calls {
		if k.op == op && k.value == v.Reveal() {
			n++
		}
	}
	got := c.script(op, v.Reveal(), n)
	index := len(c.calls)
	if !got.unsent {
		c.calls = append(c.calls, fakeCall{op: op, value: v.Reveal(), at: time.Now()})
		c.inFlight++
		c.peak = max(c.peak, c.inFlight)
	}
	c.mu.Unlock()
	if got.unsent {
		return fail(got.fail)
	}
	defer func() {
		c.mu.Lock()
		c.inFlight--
		c.calls[index].end, c.calls[index].finished = time.Now(), true
		c.mu.Unlock()
	}()
	x.Written = 100
	if !sleep(ctx, c.latency+got.after) {
		return fail(invoicebox.ReasonCanceled)
	}
	if got.fail != "" {
		return fail(got.fail)
	}
	x.Status, x.Body, x.BodyComplete, x.Header, x.Finished = got.status, []byte(got.body), !got.cut, got.header, time.Now()
	return x
}

// asked gives the calls of an operation, in order.
func (c *fakeClient) asked(op invoicebox.Operation) (out []fakeCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.calls {
		if k.op == op {
			out = append(out, k)
		}
	}
	return out
}
