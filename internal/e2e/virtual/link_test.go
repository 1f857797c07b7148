package virtual

import (
	"context"
	"net"
	"sync"
	"syscall"
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// A link carries the connections of one worker to one side. What is done to it
// is done to all of them.
type link struct {
	dial dialFunc

	mu      sync.Mutex
	refused bool
	held    chan struct{} // closed when bytes flow again; nil while they do
	conns   map[*linked]struct{}
}

func newLink(dial dialFunc) *link { return &link{dial: dial, conns: map[*linked]struct{}{}} }

// Dial makes a connection, unless the other side cannot be reached.
func (l *link) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := l.flow(ctx.Done()); err != nil {
		return nil, context.Cause(ctx)
	}
	refusal := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	if l.isRefused() {
		return nil, refusal
	}
	c, err := l.dial(ctx, network, address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, refusal
	}
	out := &linked{Conn: c, link: l, to: address, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused {
		_ = c.Close()
		return nil, refusal
	}
	l.conns[out] = struct{}{}
	return out, nil
}

func (l *link) isRefused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// refuse refuses new connections, or stops doing so.
func (l *link) refuse(on bool) {
	l.mu.Lock()
	l.refused = on
	l.mu.Unlock()
}

// cut ends the connections to an address, all of them for "".
func (l *link) cut(address string) {
	l.mu.Lock()
	var list []*linked
	for c := range l.conns {
		if address == "" || c.to == address {
			list = append(list, c)
		}
	}
	l.mu.Unlock()
	for _, c := range list {
		_ = c.Close()
	}
}

// hold keeps all bytes where they are until it is called with false.
func (l *link) hold(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case on && l.held == nil:
		l.held = make(chan struct{})
	case !on && l.held != nil:
		close(l.held)
		l.held = nil
	}
}

// flow waits while bytes are held.
func (l *link) flow(gone <-chan struct{}) error {
	for {
		l.mu.Lock()
		held := l.held
		l.mu.Unlock()
		if held == nil {
			return nil
		}
		select {
		case <-held:
		case <-gone:
			return net.ErrClosed
		}
	}
}

// linked is one connection of a link.
type linked struct {
	net.Conn
	link   *link
	to     string
	once   sync.Once
	closed chan struct{}
}

func (c *linked) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if e := c.link.flow(c.closed); e != nil {
		return 0, e
	}
	return n, err
}

func (c *linked) Write(p []byte) (int, error) {
	if err := c.link.flow(c.closed); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *linked) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.link.mu.Lock()
		delete(c.link.conns, c)
		c.link.mu.Unlock()
	})
	return c.Conn.Close()
}
