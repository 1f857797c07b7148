package sandbox

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// sentStatus is the status that the client can have seen, 0 for none.
func (a answer) sentStatus() int {
	if a.cut == AbortBefore {
		return 0
	}
	return a.status
}

// send writes the response, as far as it is to get. It calls noted once, before
// the last byte leaves.
func (a answer) send(ctx context.Context, w http.ResponseWriter, noted func()) {
	h := w.Header()
	for _, x := range a.headers {
		h.Set(x.name, x.value)
	}
	if a.contentType != "" && h.Get("Content-Type") == "" {
		h["Content-Type"] = []string{a.contentType}
	}
	if a.contentType == "" && len(a.body) == 0 {
		h["Content-Type"] = nil // keeps net/http from guessing
	}
	switch {
	case a.cut != "":
		noted()
		a.sendCut(w)
	case a.drip > 0:
		a.sendDrip(ctx, w, noted)
	default:
		noted()
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body) // a client that has gone is none of our concern
	}
}

// sendCut writes what comes before the cut and ends the connection.
func (a answer) sendCut(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	if a.cut != AbortBefore {
		// The length announces what will not come: half a body, or all of one.
		w.Header().Set("Content-Length", strconv.Itoa(max(len(a.body), 2)))
		w.WriteHeader(a.status)
		if a.cut == AbortBody {
			_, _ = w.Write(a.body[:len(a.body)/2])
		}
		_ = c.Flush()
	}
	if a.reset {
		if conn, _, err := c.Hijack(); err == nil {
			for { // below TLS, and below what a listener wraps around it
				outer, ok := conn.(interface{ NetConn() net.Conn })
				if !ok {
					break
				}
				conn = outer.NetConn()
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // makes the close a reset
			}
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// sendDrip writes the body in small pieces over the time set.
func (a answer) sendDrip(ctx context.Context, w http.ResponseWriter, noted func()) {
	const most = 50
	noted = sync.OnceFunc(noted)
	defer noted()
	c := http.NewResponseController(w)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_ = c.Flush()
	pieces := min(most, len(a.body))
	for i := range pieces {
		if !sleep(ctx, a.drip/time.Duration(pieces)) {
			panic(http.ErrAbortHandler)
		}
		if i == pieces-1 {
			noted()
		}
		from, to := i*len(a.body)/pieces, (i+1)*len(a.body)/pieces
		if _, err := w.Write(a.body[from:to]); err != nil {
			return
		}
		_ = c.Flush()
	}
}
