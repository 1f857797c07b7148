package invoicebox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"invoicebox-worker/internal/loopback"
)

// How long a connection may have been idle for a call to take it. Many servers
// and gateways drop an idle connection after 5 s or more, and a request that
// meets such an end leaves an unknown outcome: calls with an effect stay well
// below. A check may be lost without harm.
const (
	maxIdleWrite = 4 * time.Second
	maxIdleRead  = 60 * time.Second
)

// maxIdleConns bounds the idle connections to one host; calls in flight are
// bounded by the caller.
const maxIdleConns = 256

// TransportOptions say how connections are made. The zero value is good.
type TransportOptions struct {
	// RootCAs are trusted instead of the system's, where set.
	RootCAs *x509.CertPool
	// Proxy gives the proxy for a request's URL, nil for none. Only http:// and
	// https:// proxies (CONNECT) are supported. Default: the environment's
	// (HTTPS_PROXY, NO_PROXY), never for loopback addresses.
	Proxy func(*url.URL) (*url.URL, error)
	// Dial makes the connection below TLS. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Transport holds the connections to the API. It is safe for concurrent use
// and can serve several clients.
type Transport struct {
	options TransportOptions
	tls     *tls.Config

	buffers sync.Pool // of *[]byte: requests while they are written

	mu     sync.Mutex
	idle   map[target][]*conn // the last one used is the last one
	sweep  *time.Timer
	closed bool
}

// A target is where connections lead.
type target struct {
	address string // host:port
	host    string // for the certificate; empty without TLS
}

// targetOf gives the target of a URL that New has checked.
func targetOf(u *url.URL) target {
	host, port := u.Hostname(), u.Port()
	if u.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		return target{net.JoinHostPort(host, port), host}
	}
	if port == "" {
		port = "80"
	}
	return target{address: net.JoinHostPort(host, port)}
}

// NewTransport makes a transport without connections.
func NewTransport(o TransportOptions) *Transport {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	o.Dial = loopback.WrapDial(o.Dial)
	if o.Proxy == nil {
		o.Proxy = func(u *url.URL) (*url.URL, error) { return http.ProxyFromEnvironment(&http.Request{URL: u}) }
	}
	return &Transport{
		options: o,
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"http/1.1"},
			RootCAs:    o.RootCAs,
			// Handshakes can be slow: a resumed one saves a round trip.
			ClientSessionCache: tls.NewLRUClientSessionCache(64),
		},
		buffers: sync.Pool{New: func() any { return new([]byte) }},
		idle:    make(map[target][]*conn),
	}
}

// Close closes the idle connections; one that is in use is closed after its call.
func (t *Transport) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.sweep != nil {
		t.sweep.Stop()
	}
	for to, list := range t.idle {
		for _, c := range list {
			c.abort()
		}
		delete(t.idle, to)
	}
}

// take gives the connection used last, where it is fresh enough and alive.
func (t *Transport) take(to target, maxIdle time.Duration) *conn {
	for {
		t.mu.Lock()
		list := t.idle[to]
		if len(list) == 0 || time.Since(list[len(list)-1].idleAt) > maxIdle {
			t.mu.Unlock()
			return nil
		}
		c := list[len(list)-1]
		list[len(list)-1] = nil
		t.idle[to] = list[:len(list)-1]
		t.mu.Unlock()
		if c.alive() {
			return c
		}
		c.abort()
	}
}

// put keeps a connection for the next call.
func (t *Transport) put(c *conn) {
	c.idleAt = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.abort()
		return
	}
	list := t.idle[c.target]
	if len(list) >= maxIdleConns {
		// The oldest one is the first that no call would take any more.
		list[0].abort()
		list = list[:copy(list, list[1:])]
	}
	t.idle[c.target] = append(list, c)
	if t.sweep == nil {
		t.sweep = time.AfterFunc(maxIdleRead, t.sweepIdle)
	}
}

// sweepIdle closes what has been idle for too long for any call.
func (t *Transport) sweepIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	left := 0
	for to, list := range t.idle {
		old := 0
		for old < len(list) && time.Since(list[old].idleAt) >= maxIdleRead {
			list[old].abort()
			old++
		}
		kept := append([]*conn(nil), list[old:]...)
		if left += len(kept); len(kept) == 0 {
			delete(t.idle, to)
		} else {
			t.idle[to] = kept
		}
	}
	if left > 0 {
		t.sweep.Reset(maxIdleRead / 4)
	} else {
		t.sweep = nil
	}
}

// dial makes a new connection. Only ctx bounds it: handshakes of more than ten
// seconds are normal on some networks. Its error is a *dialError.
func (t *Transport) dial(ctx context.Context, to target) (*conn, error) {
	var proxy *url.URL
	if to.host != "" {
		var err error
		if proxy, err = t.options.Proxy(&url.URL{Scheme: "https", Host: to.address}); err != nil {
			return nil, &dialError{reason: ReasonProxy, detail: "the proxy setting cannot be read", final: true, connectFailure: ConnectProxySetting, proxy: true}
		}
	}
	var (
		below net.Conn
		err   error
	)
	if proxy == nil {
		if below, err = t.options.Dial(ctx, "tcp", to.address); err != nil {
			return nil, connectError(err, ReasonConnect)
		}
	} else if below, err = t.dialProxy(ctx, proxy, to.address); err != nil {
		return nil, err
	}
	raw := &countingConn{Conn: below}
	if to.host == "" {
		return newConn(raw, raw, to), nil
	}
	secured, err := t.handshake(ctx, raw, to.host)
	if err != nil {
		return nil, err
	}
	return newConn(secured, raw, to), nil
}

// handshake puts TLS on a connection, or closes it.
func (t *Transport) handshake(ctx context.Context, below net.Conn, host string) (net.Conn, error) {
	config := t.tls.Clone()
	config.ServerName = host
	secured := tls.Client(below, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = below.Close()
		if ctx.Err() != nil {
			return nil, &dialError{reason: ReasonTLS, err: ctx.Err(), final: true, connectFailure: ConnectHandshake}
		}
		return nil, tlsError(err)
	}
	return secured, nil
}
