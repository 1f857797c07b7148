//go:build unix

package invoicebox

import (
	"errors"
	"net"
	"syscall"
)

// hasNoPendingData looks into an idle socket without waiting: false where there is
// anything to read, an end of the stream included. A connection without a
// system socket below it (in memory, in tests) counts as having none.
func hasNoPendingData(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	still := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		// A byte that is read here is lost, and so is the connection.
		n, err := syscall.Read(int(fd), one[:])
		still = n < 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK))
		return true
	})
	return err == nil && still
}
