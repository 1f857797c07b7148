package consumer

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
)

func TestUserDataConn(t *testing.T) {
	t.Run("PassesOnOtherRequests", testUserDataConnPassesOnOtherRequests)
}

// What is no SyncGroup request of version 0, or is cut off, is passed on as it is,
// in whatever pieces it is written.
func testUserDataConnPassesOnOtherRequests(t *testing.T) {
	frame := func(body ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	for name, request := range map[string][]byte{
		"Heartbeat":        frame(0, 12, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 'g', 0, 0, 0, 1, 0, 1, 'm'),
		"AnotherVersion":   frame(0, 14, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 'g', 0, 0, 0, 1, 0, 1, 'm', 0, 0, 0, 1),
		"NoAssignments":    frame(0, 14, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 'g', 0, 0, 0, 1, 0, 1, 'm', 0, 0, 0, 0),
		"AssignmentCutOff": frame(0, 14, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 'g', 0, 0, 0, 1, 0, 1, 'm', 0, 0, 0, 9, 0, 1, 'm'),
		"Empty":            frame(),
	} {
		t.Run(name, func(t *testing.T) {
			var out recorder
			a := &userDataConn{Conn: &out, data: []byte("mine")}
			for i := range request {
				if n, err := a.Write(request[i : i+1]); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			if !bytes.Equal(out.got, request) {
				t.Errorf("%v became %v", request, out.got)
			}
		})
	}
}

type recorder struct {
	net.Conn
	got []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.got = append(r.got, b...)
	return len(b), nil
}
