// Package connlimit bounds the connections of an HTTP server, in total and for
// each remote address, so that clients that connect and wait cannot use up the
// process's files.
//
// A connection beyond a bound replaces the connection that has been idle longest: of its
// own address, or of the address with the most connections. If all connections of that
// address have a running request, it replaces the one that has been idle longest of all.
// So a health check is answered however many connections wait. The new connection is
// closed only if every connection has a running request, or all of its own address beyond
// that address's bound.
package connlimit

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// Bounds are numbers of connections.
type Bounds struct{ Total, PerAddress int }

// A limiter tracks the open connections of one server.
type limiter struct {
	bounds Bounds

	mu     sync.Mutex
	clock  uint64 // increases with every change of a connection
	open   map[net.Conn]*state
	counts map[string]int // open connections of an address
}

type state struct {
	address string
	busy    bool   // a request is running
	since   uint64 // of clock
}

// Serve serves on a listener within bounds. It sets server.ConnState.
func Serve(server *http.Server, l net.Listener, bounds Bounds) error {
	return server.Serve(bound(server, l, bounds))
}

// ServeTLS is Serve with TLS.
func ServeTLS(server *http.Server, l net.Listener, bounds Bounds, certFile, keyFile string) error {
	return server.ServeTLS(bound(server, l, bounds), certFile, keyFile)
}

func bound(server *http.Server, l net.Listener, bounds Bounds) net.Listener {
	limits := &limiter{bounds: bounds, open: map[net.Conn]*state{}, counts: map[string]int{}}
	server.ConnState = limits.changed
	return &listener{Listener: l, limits: limits}
}

type listener struct {
	net.Listener
	limits *limiter
}

// Accept returns the next connection within the bounds.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: inner, limits: l.limits}
		evicted, ok := l.limits.admit(c)
		if evicted != nil {
			_ = evicted.Close()
		}
		if ok {
			return c, nil
		}
		_ = inner.Close()
	}
}

type conn struct {
	net.Conn
	limits *limiter
}

// NetConn returns the connection of the listener, as tls.Conn does.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Close removes the connection from the count.
func (c *conn) Close() error {
	c.limits.forget(c)
	return c.Conn.Close()
}

// admit counts a connection. If a bound is reached, it returns the connection to close in
// its place.
func (l *limiter) admit(c net.Conn) (evicted net.Conn, ok bool) {
	address, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		address = c.RemoteAddr().String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	from, total := "", false
	switch {
	case l.counts[address] >= l.bounds.PerAddress:
		from = address
	case len(l.open) >= l.bounds.Total:
		most := 0
		total = true
		for a, n := range l.counts {
			if n > most {
				from, most = a, n
			}
		}
	}
	if from != "" {
		evicted = l.idlest(from)
		if evicted == nil && total {
			evicted = l.idlest("") // all connections of that address have a running request
		}
		if evicted == nil {
			return nil, false
		}
		l.remove(evicted)
	}
	l.clock++
	l.open[c] = &state{address: address, since: l.clock}
	l.counts[address]++
	return evicted, true
}

// idlest returns the connection of an address that has been idle longest, or of all
// connections if the address is empty.
func (l *limiter) idlest(address string) net.Conn {
	var found net.Conn
	var since uint64
	for c, s := range l.open {
		if (address == "" || s.address == address) && !s.busy && (found == nil || s.since < since) {
			found, since = c, s.since
		}
	}
	return found
}

func (l *limiter) forget(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
}

func (l *limiter) remove(c net.Conn) {
	s, ok := l.open[c]
	if !ok {
		return
	}
	delete(l.open, c)
	if l.counts[s.address]--; l.counts[s.address] == 0 {
		delete(l.counts, s.address)
	}
}

// changed follows the states of the server's connections. A connection counts as idle
// until the head of its request is read.
func (l *limiter) changed(c net.Conn, now http.ConnState) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now == http.StateHijacked || now == http.StateClosed {
		l.remove(c) // a handler that took it closes the connection below
		return
	}
	if s, ok := l.open[c]; ok {
		l.clock++
		s.busy, s.since = now == http.StateActive, l.clock
	}
}

// LocalNames answers only requests for localhost or an IP address if the listener's own
// address is a loopback one. Otherwise a page in a browser of this machine could reach it
// under a name that resolves to it.
func LocalNames(l net.Listener, next http.Handler) http.Handler {
	own, ok := l.Addr().(*net.TCPAddr)
	if !ok || !own.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalName(r.Host) {
			http.Error(w, "the Host header must be localhost or an IP address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}
