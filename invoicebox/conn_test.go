package invoicebox

import (
	"errors"
	"net"
	"testing"
)

// A stub is a connection whose writes go as they are told.
type stub struct {
	net.Conn
	write func(p []byte) (int, error)
}

func (s stub) Write(p []byte) (int, error) { return s.write(p) }

var errBroken = errors.New("broken")

// Nothing counts as nothing only where the socket below took nothing.
func TestSendCounts(t *testing.T) {
	request := []byte("0123456789")
	for name, c := range map[string]struct {
		socket func(p []byte) (int, error)
		above  func(socket net.Conn, p []byte) (int, error)
		want   int64
	}{
		"all of it": {
			func(p []byte) (int, error) { return len(p), nil },
			func(s net.Conn, p []byte) (int, error) { return s.Write(p) }, 10},
		"dead at once": {
			func([]byte) (int, error) { return 0, errBroken },
			func(s net.Conn, p []byte) (int, error) { return s.Write(p) }, 0},
		"a part": {
			func([]byte) (int, error) { return 4, errBroken },
			func(s net.Conn, p []byte) (int, error) { return s.Write(p) }, 4},
		"half a record of TLS": {
			func([]byte) (int, error) { return 7, errBroken },
			func(s net.Conn, p []byte) (int, error) { _, err := s.Write(p); return 0, err }, 7},
	} {
		raw := &countingConn{Conn: stub{write: c.socket}}
		raw.written.Store(1000) // a handshake
		conn := newConn(stub{write: func(p []byte) (int, error) { return c.above(raw, p) }}, raw, target{})
		n, err := conn.send(request)
		if n != c.want || (err == nil) != (c.want == 10) {
			t.Errorf("%s: %d %v, want %d", name, n, err, c.want)
		}
	}
}

func TestStatusOf(t *testing.T) {
	for text, want := range map[string]int{
		"HTTP/1.1 200 ":    200,
		"HTTP/1.0 404\r\n": 404,
		"HTTP/1.1 503":     503,
		"HTTP/1.1 20":      0,
		"HTTP/1.1 2000":    0,
		"HTTP/1.1 2x0 ":    0,
		"HTTP/2.0 200 ":    0,
		"HTTP/1.1\t200 ":   0,
		"http/1.1 200 ":    0,
		"<html>":           0,
		"":                 0,
	} {
		if got := statusOf([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
