package kafka

import (
	"context"
	"errors"
	"net"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
)

// errCut says that a connection was closed because its owner stops.
var errCut = errors.New("kafka: stopping")

// Lines are open connections that can be cut together. The library gives no
// other way to end a join that waits for other members, nor a request whose
// caller has gone, before its time. The zero value is ready for use.
type Lines struct {
	mu     sync.Mutex
	closed bool
	open   map[*line]struct{}
}

// A line is one connection.
type line struct {
	net.Conn
	lines *Lines
}

// Close closes the connection and forgets it.
func (l *line) Close() error {
	l.lines.mu.Lock()
	delete(l.lines.open, l)
	l.lines.mu.Unlock()
	return l.Conn.Close()
}

// Through wraps a dial function so that its connections can be cut.
func (l *Lines) Through(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if l.isClosed() {
			return nil, errCut
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed {
			_ = conn.Close()
			return nil, errCut
		}
		kept := &line{Conn: conn, lines: l}
		if l.open == nil {
			l.open = map[*line]struct{}{}
		}
		l.open[kept] = struct{}{}
		return kept, nil
	}
}

// Transport makes a transport of c, see [Conn.Transport], whose connections
// can be cut.
func (l *Lines) Transport(c *Conn, topics ...string) *kafkago.Transport {
	t := c.Transport(topics...)
	t.Dial = l.Through(t.Dial)
	return t
}

// Cut closes all connections; there will be no new ones.
func (l *Lines) Cut() {
	l.mu.Lock()
	open := l.open
	l.open, l.closed = nil, true
	l.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close()
	}
}

func (l *Lines) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}
