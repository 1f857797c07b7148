package invoicebox_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// A tcpConn is the server's end of a real connection.
type tcpConn struct {
	*net.TCPConn
	reader   *bufio.Reader
	number   int // from 1
	requests *atomic.Int64
}

// request reads one request whole.
func (c *tcpConn) request() bool {
	req, err := http.ReadRequest(c.reader)
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	if err == nil {
		c.requests.Add(1)
	}
	return err == nil
}

func (c *tcpConn) say(text string) bool {
	_, err := io.WriteString(c, text)
	return err == nil
}

// gone waits until the other side has closed.
func (c *tcpConn) gone() { _, _ = io.Copy(io.Discard, c.reader) }

// listen serves TCP connections on loopback until the test ends.
func listen(t *testing.T, serve func(c *tcpConn)) (base string, requests *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = new(atomic.Int64)
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				serve(&tcpConn{c.(*net.TCPConn), bufio.NewReader(c), n, requests})
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wait.Wait()
	})
	return "http://" + l.Addr().String(), requests
}

func TestRealConnectionsThatDie(t *testing.T) {
	for name, c := range map[string]struct {
		after  func(c *tcpConn) // the request
		reason invoicebox.Reason
		status int
		large  bool
	}{
		"closed": {after: func(*tcpConn) {}, reason: invoicebox.ReasonLost},
		"reset":  {after: func(c *tcpConn) { _ = c.SetLinger(0) }, reason: invoicebox.ReasonReset},
		"in the headers": {after: func(c *tcpConn) { c.say("HTTP/1.1 503 Busy\r\nRetry-Af") },
			reason: invoicebox.ReasonLost, status: 503},
		"in the body": {after: func(c *tcpConn) { c.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") },
			reason: invoicebox.ReasonBodyCut, status: 200},
		"in a chunk": {after: func(c *tcpConn) { c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{") },
			reason: invoicebox.ReasonBodyCut, status: 200},
		"broken chunks": {after: func(c *tcpConn) {
			c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + markedCode + "\r\n")
			c.gone()
		}, reason: invoicebox.ReasonBodyCut, status: 200},
		"huge headers": {after: func(c *tcpConn) {
			c.say("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 100<<10) + "\r\n\r\n")
			c.gone()
		}, reason: invoicebox.ReasonHeaderLarge, status: 200},
		"endless headers": {after: func(c *tcpConn) {
			for ok := c.say("HTTP/1.1 429 X\r\n"); ok; ok = c.say("X-A: a\r\n") {
			}
		}, reason: invoicebox.ReasonHeaderLarge, status: 429},
		"an endless body": {after: func(c *tcpConn) {
			for ok := c.say("HTTP/1.1 200 OK\r\n\r\n"); ok; ok = c.say("aaaaaaaa") {
			}
		}, reason: invoicebox.ReasonBodyLarge, status: 200, large: true},
		"endless chunks": {after: func(c *tcpConn) {
			for ok := c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"); ok; ok = c.say("5;x=y\r\naaaaa\r\n") {
			}
		}, reason: invoicebox.ReasonBodyLarge, status: 200, large: true},
		"not HTTP": {after: func(c *tcpConn) {
			c.say("220 mail.example ESMTP " + markedCode + "\r\n\r\n")
			c.gone()
		}, reason: invoicebox.ReasonNotHTTP},
		"no status": {after: func(c *tcpConn) {
			c.say("HTTP/1.1 " + markedCode + "\r\n\r\n")
			c.gone()
		}, reason: invoicebox.ReasonNotHTTP},
		"a header without a colon": {after: func(c *tcpConn) {
			c.say("HTTP/1.1 200 OK\r\n" + markedCode + "\r\n\r\n")
			c.gone()
		}, reason: invoicebox.ReasonNotHTTP, status: 200},
		"two lengths": {after: func(c *tcpConn) {
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}")
			c.gone()
		}, reason: invoicebox.ReasonNotHTTP, status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			base, requests := listen(t, func(conn *tcpConn) {
				if conn.request() {
					c.after(conn)
				}
			})
			client, log := newClient(t, options(base, nil))
			x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
			var failure *invoicebox.Error
			if !errors.As(x.Err, &failure) || failure.Reason != c.reason || x.Status != c.status || x.BodyComplete || x.TooLarge != c.large {
				t.Errorf("status %d, complete %t, large %t, %v", x.Status, x.BodyComplete, x.TooLarge, x.Err)
			}
			if requests.Load() != 1 || x.Tries != 1 || x.Written == 0 {
				t.Errorf("%d requests, %d tries, %d written", requests.Load(), x.Tries, x.Written)
			}
			if len(x.Body) > invoicebox.DefaultMaxResponseBytes {
				t.Errorf("%d bytes kept", len(x.Body))
			}
			if want := map[int]invoicebox.Outcome{0: invoicebox.Unknown, 200: invoicebox.Unreadable, 429: invoicebox.Limited, 503: invoicebox.ProbablyNotExecuted}[c.status]; invoicebox.Classify(x).Outcome != want {
				t.Errorf("%+v, want %s", invoicebox.Classify(x), want)
			}
			mustNotLeak(t, x, log.String())
		})
	}
}

// A connection that dies under its second request: exactly one such request.
func TestReusedConnectionDiesAfterTheRequest(t *testing.T) {
	for name, end := range map[string]func(c *tcpConn){
		"closed": func(*tcpConn) {},
		"reset":  func(c *tcpConn) { _ = c.SetLinger(0) },
	} {
		for _, op := range all {
			t.Run(name+" "+op.String(), func(t *testing.T) {
				base, requests := listen(t, func(c *tcpConn) {
					if c.request() && c.say(answer(200, good(op))) && c.request() {
						end(c)
					}
				})
				client, _ := newClient(t, options(base, nil))
				if x := perform(t.Context(), client, op, invoicebox.CallOptions{}); x.Err != nil {
					t.Fatal(x.Err)
				}
				x := perform(t.Context(), client, op, invoicebox.CallOptions{})
				if requests.Load() != 2 || x.Tries != 1 || !errors.Is(x.Err, invoicebox.ErrConnectionLost) {
					t.Errorf("%d requests in all, %d tries, %v", requests.Load(), x.Tries, x.Err)
				}
			})
		}
	}
}

// A connection that the server closed, or spoke on, while it was idle is not
// used: the next call takes a new one and ends well.
func TestIdleConnectionThatEndedIsNotUsed(t *testing.T) {
	for name, end := range map[string]func(c *tcpConn){
		"closed":  func(c *tcpConn) { _ = c.CloseWrite() },
		"reset":   func(c *tcpConn) { _ = c.SetLinger(0); _ = c.Close() },
		"unasked": func(c *tcpConn) { c.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") },
		"a response more": func(c *tcpConn) {
			c.say(answer(200, strings.ReplaceAll(goodActivate, markedShopToken, "another-shops-token")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			idle, ended := make(chan struct{}), make(chan struct{})
			base, requests := listen(t, func(c *tcpConn) {
				for n := 1; c.request() && c.say(answer(200, goodActivate)); n++ {
					if c.number == 1 && n == 1 {
						<-idle
						end(c)
						close(ended)
					}
				}
			})
			client, _ := newClient(t, options(base, nil))
			if x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{}); x.Err != nil {
				t.Fatal(x.Err)
			}
			close(idle)
			<-ended
			// On loopback what was sent has arrived when the call returns.
			x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
			a, err := invoicebox.ParseActivation(x)
			if err != nil || !a.Token.Equal(secret.New(markedShopToken)) || x.Tries != 1 || requests.Load() != 2 {
				t.Errorf("%v, %d tries, %d requests, %v", err, x.Tries, requests.Load(), x.Err)
			}
		})
	}
}

// Many calls at once: each gets its own answer, connections are reused.
func TestManyCallsAtOnce(t *testing.T) {
	var conns atomic.Int64
	base, requests := listen(t, func(c *tcpConn) {
		conns.Add(1)
		for {
			req, err := http.ReadRequest(c.reader)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			c.requests.Add(1)
			_, code, _ := strings.Cut(string(body), `"activationCode":"`)
			code, _, _ = strings.Cut(code, `"`)
			c.say(answer(200, `{"data":{"merchantId":"m-`+code+`","token":"t-`+code+`"}}`))
		}
	})
	client, _ := newClient(t, options(base, nil))
	const workers, calls = 64, 20
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range calls {
				code := strings.Repeat("x", w%7) + string(rune('a'+w%26)) + "-" + strings.Repeat("y", i)
				a, err := invoicebox.ParseActivation(client.Activate(t.Context(), invoicebox.CallOptions{SendBy: time.Now().Add(time.Minute)}, secret.New(code)))
				if err != nil || a.MerchantID != "m-"+code || a.Token.Reveal() != "t-"+code {
					t.Errorf("%v %v", a, err)
				}
			}
		})
	}
	wait.Wait()
	if requests.Load() != workers*calls || conns.Load() > workers {
		t.Errorf("%d requests over %d connections", requests.Load(), conns.Load())
	}
}
