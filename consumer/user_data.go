package consumer

import (
	"context"
	"encoding/binary"
	"net"
	"slices"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
)

// withAssignmentUserData adds user data to the assignments that the group's leader
// sends. When a client of the new consumer protocol (KIP-848) joins, brokers convert a
// classic group and assign its partitions themselves. They refuse that client if
// assignments hold user data, which shows that the group has its own assignor. The
// library sends none.
func withAssignmentUserData(dial kafka.DialFunc, data string) kafka.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &userDataConn{Conn: conn, data: []byte(data)}, nil
	}
}

// groupDialer makes the dialer of the group's connections.
func (c *Consumer) groupDialer(conns *kafka.ConnTracker) *kafkago.Dialer {
	d := c.config.Kafka.Dialer(conns.WrapDial)
	d.DialFunc = withAssignmentUserData(d.DialFunc, ProtocolName(c.config.Inbox))
	return d
}

// A userDataConn changes the requests of one API and passes on all others.
type userDataConn struct {
	net.Conn
	data    []byte
	pending []byte // a part of a request
}

// Write passes on whole requests.
func (a *userDataConn) Write(b []byte) (int, error) {
	a.pending = append(a.pending, b...)
	for len(a.pending) >= 4 {
		size := 4 + int64(binary.BigEndian.Uint32(a.pending))
		if int64(len(a.pending)) < size {
			break
		}
		request := addUserData(a.pending[:size], a.data)
		a.pending = slices.Clone(a.pending[size:])
		if _, err := a.Conn.Write(request); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// addUserData adds user data to the assignments of a SyncGroup request of version 0,
// the version of the library. It returns other requests unchanged.
func addUserData(request, data []byte) []byte {
	const syncGroup, length = 14, 4
	r := requestReader{rest: request[length:]}
	key, version := r.number(2), r.number(2)
	r.skip(4) // correlation id
	r.text()  // client id
	r.text()  // group
	r.skip(4) // generation
	r.text()  // member
	count := r.number(4)
	if key != syncGroup || version != 0 || r.invalid || count == 0 {
		return request
	}
	out := slices.Clone(request[:len(request)-len(r.rest)])
	for range count {
		member := r.text()
		assignment := r.skip(r.number(4))
		if r.invalid {
			return request
		}
		// The assignment ends with the length of its user data, 0 or -1.
		if n := len(assignment) - length; n > 0 && int32(binary.BigEndian.Uint32(assignment[n:])) <= 0 { // #nosec G115 -- a signed length
			assignment = binary.BigEndian.AppendUint32(slices.Clone(assignment[:n]), uint32(len(data))) // #nosec G115 -- short
			assignment = append(assignment, data...)
		}
		out = binary.BigEndian.AppendUint16(out, uint16(len(member))) // #nosec G115 -- as it was read
		out = append(out, member...)
		out = binary.BigEndian.AppendUint32(out, uint32(len(assignment))) // #nosec G115 -- at most a request
		out = append(out, assignment...)
	}
	out = append(out, r.rest...)
	binary.BigEndian.PutUint32(out, uint32(len(out)-length)) // #nosec G115 -- at most a request and some bytes
	return out
}

type requestReader struct {
	rest    []byte
	invalid bool
}

func (r *requestReader) skip(n int) []byte {
	if r.invalid || n < 0 || n > len(r.rest) {
		r.invalid = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// number reads an unsigned number of size bytes.
func (r *requestReader) number(size int) int {
	n := 0
	for _, b := range r.skip(size) {
		n = n<<8 | int(b)
	}
	return n
}

// text reads a string, which may be null.
func (r *requestReader) text() []byte {
	n := r.number(2)
	if n == 0xffff {
		return nil
	}
	return r.skip(n)
}
