package invoicebox

import (
	"bufio"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxHeaderBytes bounds the status line and headers of one response, interim
// responses included.
const maxHeaderBytes = 64 << 10

// A conn is one connection to the API, inside TLS where there is TLS. One call
// has it at a time.
type conn struct {
	net.Conn               // what HTTP is written to
	raw      *countingConn // the socket below
	target   target
	reader   *bufio.Reader
	left     int64 // bytes that may still be read
	ended    error // why nothing more can be read
	idleAt   time.Time
	closing  sync.Once
}

func newConn(inner net.Conn, raw *countingConn, to target) *conn {
	c := &conn{Conn: inner, raw: raw, target: to}
	c.reader = bufio.NewReader(reading{c})
	return c
}

// abort closes the socket itself, without a word of farewell that could block.
// Whatever reads or writes on the connection ends.
func (c *conn) abort() { c.closing.Do(func() { _ = c.raw.Close() }) }

// send writes a request and counts what the network took of it. A write that
// failed counts as nothing only where the socket below took nothing either.
func (c *conn) send(p []byte) (int64, error) {
	before := c.raw.written.Load()
	n, err := c.Write(p)
	if taken := c.raw.written.Load() - before; err != nil && n == 0 && taken > 0 {
		return taken, err
	}
	return int64(n), err
}

// reading is the conn as its own bufio.Reader sees it: bounded.
type reading struct{ c *conn }

func (r reading) Read(p []byte) (int, error) {
	if r.c.left <= 0 {
		return 0, errBound
	}
	if int64(len(p)) > r.c.left {
		p = p[:r.c.left]
	}
	n, err := r.c.Conn.Read(p)
	r.c.left -= int64(n)
	if err != nil {
		r.c.ended = err
	}
	return n, err
}

// errBound ends a response that goes on and on.
var errBound = errors.New("invoicebox: the bound of a response was reached")

// A headerError says what is wrong with a response's head.
type headerError struct{ reason Reason }

func (e *headerError) Error() string { return string(e.reason) }

// countingConn counts the bytes that the socket took.
type countingConn struct {
	net.Conn
	written atomic.Int64
}

func (r *countingConn) Write(p []byte) (int, error) {
	n, err := r.Conn.Write(p)
	r.written.Add(int64(n))
	return n, err
}

// alive tells whether an idle connection is still good as far as this side can
// know: nothing has come on it, no end either. Whatever has come belongs to no
// request.
func (c *conn) alive() bool {
	if c.reader.Buffered() > 0 || !hasNoPendingData(c.raw.Conn) {
		return false
	}
	if c.Conn == net.Conn(c.raw) {
		return true
	}
	// TLS may hold bytes that it has taken from the socket already. A read
	// whose time is over gives those and touches nothing else.
	var one [1]byte
	if c.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	n, err := c.Conn.Read(one[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.SetReadDeadline(time.Time{}) == nil
}

// statusOf reads the status out of the beginning of a response, so that it is known
// also where what follows is broken.
func statusOf(head []byte) int {
	const form = "HTTP/1.x 200 "
	if len(head) < len(form)-1 || string(head[:7]) != form[:7] || head[7] < '0' || head[7] > '9' || head[8] != ' ' {
		return 0
	}
	status := 0
	for _, d := range head[9:12] {
		if d < '0' || d > '9' {
			return 0
		}
		status = status*10 + int(d-'0')
	}
	if len(head) > 12 && head[12] != ' ' && head[12] != '\r' && head[12] != '\n' {
		return 0
	}
	return status
}
