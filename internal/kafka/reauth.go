package kafka

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// reauthTenths is the part of a session's lifetime, in tenths, after which the
// connection authenticates again.
const reauthTenths = 8

// wrapAuth opens connections with TLS and SASL that authenticate again in time (KIP-368).
// The library does not. Brokers that limit sessions (connections.max.reauth.ms) then close
// its connections, and the loss of the group's connection is a rebalance.
func (c *Cluster) wrapAuth(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
		defer cancel()
		cluster, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		s, err := c.open(ctx, cluster, address)
		if err != nil {
			return nil, err
		}
		r := &reauthConn{Conn: s.Conn, cluster: c, session: s}
		if !s.Expires.IsZero() {
			r.setLifetime(time.Until(s.Expires))
		}
		return r, nil
	}
}

// A reauthConn authenticates again before a request if its session is about to end and
// no response is pending. It parses the frames in both directions to know that.
type reauthConn struct {
	net.Conn
	cluster *Cluster
	session *Session

	mu      sync.Mutex
	due     time.Time // zero: never
	out, in frames
	pending int // requests without their response
	read    time.Time
	write   time.Time // the deadlines that the caller has set
}

func (r *reauthConn) setLifetime(lifetime time.Duration) {
	r.due = time.Time{}
	if lifetime > 0 {
		r.due = time.Now().Add(lifetime * reauthTenths / 10)
	}
}

// Write sends a part of a request.
func (r *reauthConn) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == 0 && r.out.atBoundary() && !r.due.IsZero() && !time.Now().Before(r.due) {
		if err := r.reauthenticate(); err != nil {
			_ = r.Conn.Close()
			return 0, err
		}
	}
	begun, _ := r.out.advance(b)
	r.pending += begun
	return r.Conn.Write(b)
}

// Read receives a part of a response.
func (r *reauthConn) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ended := r.in.advance(b[:n])
	r.pending -= ended
	return n, err
}

func (r *reauthConn) reauthenticate() error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := r.Conn.SetDeadline(deadline); err != nil {
		return err
	}
	lifetime, err := r.cluster.authenticate(ctx, protocol.NewConn(r.Conn, r.cluster.clientID), r.session)
	if err != nil {
		return err
	}
	r.setLifetime(lifetime)
	if err := r.Conn.SetReadDeadline(r.read); err != nil {
		return err
	}
	return r.Conn.SetWriteDeadline(r.write)
}

// SetDeadline implements net.Conn.
func (r *reauthConn) SetDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read, r.write = t, t
	return r.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (r *reauthConn) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = t
	return r.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (r *reauthConn) SetWriteDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write = t
	return r.Conn.SetWriteDeadline(t)
}

// frames follows the frames of one direction: four bytes of length, and the frame.
type frames struct {
	length [4]byte
	got    int   // bytes of length
	left   int64 // bytes of the frame
}

// atBoundary reports whether the next byte begins a frame.
func (f *frames) atBoundary() bool { return f.got == 0 && f.left == 0 }

// advance counts the frames that begin and end in b.
func (f *frames) advance(b []byte) (begun, ended int) {
	for len(b) > 0 {
		if f.left == 0 {
			if f.got == 0 {
				begun++
			}
			n := copy(f.length[f.got:], b)
			f.got += n
			b = b[n:]
			if f.got < len(f.length) {
				return begun, ended
			}
			f.left = int64(binary.BigEndian.Uint32(f.length[:]))
		}
		n := min(f.left, int64(len(b)))
		f.left -= n
		b = b[n:]
		if f.left == 0 {
			f.got = 0
			ended++
		}
	}
	return begun, ended
}
