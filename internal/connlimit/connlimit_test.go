package connlimit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serve runs a server whose /slow answers when the channel is closed.
func serve(t *testing.T, bounds Bounds) (address string, slow chan struct{}) {
	t.Helper()
	slow = make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) { <-slow })
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: LocalNames(l, mux), ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- Serve(server, l, bounds) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String(), slow
}

func dial(t *testing.T, address, from, text string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// closed reports whether the other side closed a connection within a second.
func closed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	_, err := io.Copy(io.Discard, c)
	var late net.Error
	return !errors.As(err, &late) || !late.Timeout()
}

func answers(t *testing.T, address, from string) bool {
	t.Helper()
	c := dial(t, address, from, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func TestServe(t *testing.T) {
	for name, first := range map[string]string{
		"nothing sent": "", "a head that never ends": "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", "kept alive": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		t.Run("IdleConnectionsGiveWay/"+name, func(t *testing.T) {
			t.Parallel()
			address, _ := serve(t, Bounds{Total: 8, PerAddress: 4})
			var held []net.Conn
			for range 40 {
				held = append(held, dial(t, address, "127.0.0.1", first))
			}
			for range 4 {
				if !answers(t, address, "127.0.0.1") {
					t.Error("a request is not answered beside idle connections")
				}
			}
			if !closed(held[0]) {
				t.Error("the oldest connection is still open")
			}
		})
	}
	t.Run("OneAddressDoesNotTakeAll", func(t *testing.T) {
		t.Parallel()
		address, _ := serve(t, Bounds{Total: 6, PerAddress: 4})
		quiet := dial(t, address, "127.0.0.3", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		for i := range 30 {
			dial(t, address, fmt.Sprintf("127.0.0.%d", 1+i%2), "")
		}
		if !answers(t, address, "127.0.0.4") || closed(quiet) {
			t.Error("the connections of one address drove out those of others")
		}
	})
	t.Run("RequestsInWorkStay", func(t *testing.T) {
		t.Parallel()
		address, slow := serve(t, Bounds{Total: 8, PerAddress: 2})
		busy := []net.Conn{}
		for range 2 {
			busy = append(busy, dial(t, address, "127.0.0.1", "GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the server has no word for a request that is in work
		}
		if !closed(dial(t, address, "127.0.0.1", "")) {
			t.Error("a connection beyond the bound stays open while all others are busy")
		}
		close(slow)
		for _, c := range busy {
			if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200") {
				t.Errorf("a request in work was answered %q, %v", text, err)
			}
		}
	})
	t.Run("ABusyAddressDoesNotCloseOutOthers", func(t *testing.T) {
		t.Parallel()
		address, slow := serve(t, Bounds{Total: 5, PerAddress: 3})
		defer close(slow)
		for range 3 {
			dial(t, address, "127.0.0.1", "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		for range 2 {
			dial(t, address, "127.0.0.2", "")
		}
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the server has no word for a request that is in work
		if !answers(t, address, "127.0.0.3") {
			t.Error("a request is not answered beside idle connections of another address")
		}
	})
}

func TestLocalNames(t *testing.T) {
	address, _ := serve(t, Bounds{Total: 8, PerAddress: 8})
	for host, want := range map[string]int{"localhost": 200, "LOCALHOST:1": 200, "127.0.0.1:9464": 200, "[::1]:9464": 200, "evil.example": 403, "localhost.evil.example": 403} {
		c := dial(t, address, "127.0.0.1", "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}
