package kafka

import (
	"context"
	"errors"
	"net"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
)

// errTrackerClosed reports that a connection was closed because its owner stops.
var errTrackerClosed = errors.New("kafka: stopping")

// A ConnTracker can close all its open connections together. The library has no other way
// to end a join that waits for other members, or a request whose caller has given up. The
// zero value is ready for use.
type ConnTracker struct {
	mu     sync.Mutex
	closed bool
	open   map[*trackedConn]struct{}
}

// A trackedConn is one connection of a tracker.
type trackedConn struct {
	net.Conn
	tracker *ConnTracker
}

// Close closes the connection and removes it from the tracker.
func (l *trackedConn) Close() error {
	l.tracker.mu.Lock()
	delete(l.tracker.open, l)
	l.tracker.mu.Unlock()
	return l.Conn.Close()
}

// WrapDial wraps a dial function so that its connections are tracked.
func (l *ConnTracker) WrapDial(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if l.isClosed() {
			return nil, errTrackerClosed
		}
		cluster, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed {
			_ = cluster.Close()
			return nil, errTrackerClosed
		}
		kept := &trackedConn{Conn: cluster, tracker: l}
		if l.open == nil {
			l.open = map[*trackedConn]struct{}{}
		}
		l.open[kept] = struct{}{}
		return kept, nil
	}
}

// Transport makes a transport of c, see [Cluster.Transport], with tracked connections.
func (l *ConnTracker) Transport(c *Cluster, topics ...string) *kafkago.Transport {
	t := c.Transport(topics...)
	t.Dial = l.WrapDial(t.Dial)
	return t
}

// CloseAll closes all connections, and makes later dials fail.
func (l *ConnTracker) CloseAll() {
	l.mu.Lock()
	open := l.open
	l.open, l.closed = nil, true
	l.mu.Unlock()
	for cluster := range open {
		_ = cluster.Conn.Close()
	}
}

func (l *ConnTracker) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}
