package invoicebox_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"invoicebox-worker/invoicebox"
)

// A tlsServer is an API behind TLS with the certificate of httptest.
type tlsServer struct {
	*httptest.Server
	requests, conns atomic.Int64
	pool            *x509.CertPool
}

func newTLSServer(t *testing.T) *tlsServer {
	t.Helper()
	s := &tlsServer{pool: x509.NewCertPool()}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.requests.Add(1); r.ProtoMajor != 1 {
			t.Errorf("%s spoken", r.Proto)
		}
		_, _ = io.WriteString(w, goodInvite)
	}))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	s.pool.AddCert(s.Certificate())
	t.Cleanup(s.Close)
	return s
}

func TestTLS(t *testing.T) {
	s := newTLSServer(t)
	transport := invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: s.pool})
	client, _ := newClient(t, options(s.URL, transport))
	var written int64
	for range 3 {
		x := perform(t.Context(), client, invoicebox.Invite, invoicebox.CallOptions{})
		if v := invoicebox.Classify(x); v.Outcome != invoicebox.Done {
			t.Fatalf("%+v %v", v, x.Err)
		}
		if x.Written < 300 || x.Written > 500 || (written != 0 && x.Written != written) {
			t.Errorf("%d bytes written, %d before: not the plain request's", x.Written, written)
		}
		written = x.Written
	}
	if s.conns.Load() != 1 || s.requests.Load() != 3 {
		t.Errorf("%d requests over %d connections", s.requests.Load(), s.conns.Load())
	}
}

// A server that cannot be trusted, or does not speak TLS, sees no byte.
func TestHandshakesThatFail(t *testing.T) {
	s := newTLSServer(t)
	plain, _ := listen(t, func(c *tcpConn) {
		c.say("HTTP/1.1 400 Bad Request\r\n\r\n" + markedToken)
		c.gone()
	})
	hangsUp, _ := listen(t, func(*tcpConn) {})
	for name, c := range map[string]struct {
		base  string
		pool  *x509.CertPool
		words string
		tries int
	}{
		"unknown authority": {s.URL, x509.NewCertPool(), "unknown authority", 1},
		"another host":      {strings.Replace(s.URL, "127.0.0.1", "localhost", 1), s.pool, "another host", 1},
		"no TLS":            {strings.Replace(plain, "http:", "https:", 1), nil, "does not speak TLS", 1},
		"hangs up":          {strings.Replace(hangsUp, "http:", "https:", 1), nil, "during the handshake", 2},
	} {
		t.Run(name, func(t *testing.T) {
			client, log := newClient(t, options(c.base, invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: c.pool})))
			x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
			v := invoicebox.Classify(x)
			if v.Outcome != invoicebox.NotExecuted || v.Reason != invoicebox.ReasonTLS || x.Written != 0 || x.Tries != c.tries {
				t.Errorf("%+v, %d written, %d tries", v, x.Written, x.Tries)
			}
			if !errors.Is(x.Err, invoicebox.ErrUnreachable) || !strings.Contains(x.Err.Error(), c.words) {
				t.Errorf("error %v", x.Err)
			}
			mustNotLeak(t, x, log.String())
		})
	}
	if s.requests.Load() != 0 {
		t.Errorf("%d requests", s.requests.Load())
	}
}

// What TLS took from the socket but nobody read must not answer the next call.
func TestStrayBytesInsideTLS(t *testing.T) {
	s := newTLSServer(t)
	certificates := s.TLS.Certificates
	long := strings.Repeat("x", 12000)
	var requests atomic.Int64
	plain, _ := listen(t, func(c *tcpConn) {
		server := tls.Server(c.TCPConn, &tls.Config{Certificates: certificates, DynamicRecordSizingDisabled: true})
		reader := bufio.NewReader(server)
		for {
			req, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			requests.Add(1)
			// One record: the response, and behind it a whole other one.
			_, _ = io.WriteString(server, answer(200, `{"data":{"id":"first","x":"`+long+`"}}`)+answer(200, `{"data":{"id":"stray"}}`))
		}
	})
	client, _ := newClient(t, options(strings.Replace(plain, "http:", "https:", 1), invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: s.pool})))
	for range 3 {
		i, err := invoicebox.ParseInvitation(perform(t.Context(), client, invoicebox.Invite, invoicebox.CallOptions{}))
		if err != nil || i.ID != "first" {
			t.Errorf("%+v %v", i, err)
		}
	}
	if requests.Load() != 3 {
		t.Errorf("%d requests", requests.Load())
	}
}

// Through a proxy the count is still that of the request alone, and a proxy
// that refuses has seen nothing of it.
func TestProxy(t *testing.T) {
	s := newTLSServer(t)
	api, _ := url.Parse(s.URL)
	var seen logs
	proxy := func(reply string) func(*url.URL) (*url.URL, error) {
		base, _ := listen(t, func(c *tcpConn) {
			req, err := http.ReadRequest(c.reader)
			if err != nil {
				return
			}
			_, _ = io.WriteString(&seen, req.Method+" "+req.Host+" "+req.Header.Get("Proxy-Authorization")+"\n")
			if !c.say(reply) || !strings.Contains(reply, " 200 ") {
				return
			}
			far, err := net.Dial("tcp", api.Host)
			if err != nil {
				return
			}
			defer func() { _ = far.Close() }()
			go func() { _, _ = io.Copy(far, io.TeeReader(c.reader, &seen)); _ = far.Close() }()
			_, _ = io.Copy(c, far)
		})
		u, _ := url.Parse(base)
		u.User = url.UserPassword("me", markedPassword)
		return func(*url.URL) (*url.URL, error) { return u, nil }
	}
	direct, _ := newClient(t, options(s.URL, invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: s.pool})))
	want := perform(t.Context(), direct, invoicebox.Invite, invoicebox.CallOptions{}).Written

	through, _ := newClient(t, options(s.URL, invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: s.pool, Proxy: proxy("HTTP/1.1 200 Connected\r\n\r\n")})))
	for range 2 {
		x := perform(t.Context(), through, invoicebox.Invite, invoicebox.CallOptions{})
		if x.Err != nil || x.Written != want {
			t.Errorf("%d written, %d without a proxy: %v", x.Written, want, x.Err)
		}
	}
	if text := seen.String(); strings.Count(text, "CONNECT "+api.Host+" Basic ") != 1 || strings.Contains(text, markedToken) {
		t.Errorf("the proxy saw %.200q", text)
	}
	for name, p := range map[string]func(*url.URL) (*url.URL, error){
		"refuses":     proxy("HTTP/1.1 407 " + markedToken + "\r\n\r\n"),
		"not HTTP":    proxy(markedToken + "\r\n\r\n"),
		"hangs up":    proxy(""),
		"talks":       proxy("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
		"no address":  func(*url.URL) (*url.URL, error) { return nil, errors.New(markedPassword) },
		"socks":       func(*url.URL) (*url.URL, error) { return url.Parse("socks5://u:" + markedPassword + "@127.0.0.1:1") },
		"unreachable": func(*url.URL) (*url.URL, error) { return url.Parse("http://u:" + markedPassword + "@127.0.0.1:1") },
	} {
		t.Run(name, func(t *testing.T) {
			before := s.requests.Load()
			client, log := newClient(t, options(s.URL, invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: s.pool, Proxy: p})))
			x := perform(t.Context(), client, invoicebox.Invite, invoicebox.CallOptions{})
			v := invoicebox.Classify(x)
			if v.Outcome != invoicebox.NotExecuted || v.Reason != invoicebox.ReasonProxy || x.Written != 0 || s.requests.Load() != before {
				t.Errorf("%+v %v", v, x.Err)
			}
			mustNotLeak(t, x, log.String())
		})
	}
}

// Loopback addresses never go through the environment's proxy.
func TestNoProxyForLoopback(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	s := newTLSServer(t)
	client, _ := newClient(t, options(s.URL, invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: s.pool})))
	if x := perform(context.Background(), client, invoicebox.Invite, invoicebox.CallOptions{}); x.Err != nil {
		t.Error(x.Err)
	}
}
