package pgtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between a client and a server, and can do to the network what
// happens to networks.
type Proxy struct {
	listener net.Listener
	server   string

	mu      sync.Mutex
	delay   time.Duration
	cut     bool
	healed  chan struct{} // closed when nothing is cut
	through map[net.Conn]bool
	done    chan struct{}
	all     sync.WaitGroup
}

// Proxy starts one before the server; it ends with the test.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, server: fmt.Sprintf("127.0.0.1:%d", s.port), healed: make(chan struct{}), through: map[net.Conn]bool{}, done: make(chan struct{})}
	close(p.healed)
	p.all.Go(p.accept)
	t.Cleanup(func() {
		close(p.done)
		_ = l.Close()
		p.mu.Lock()
		for c := range p.through {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.all.Wait()
	})
	return p
}

// URL is that of one of the server's, through the proxy.
func (p *Proxy) URL(s *Server, url string) string {
	return strings.Replace(url, fmt.Sprintf("127.0.0.1:%d", s.port), p.listener.Addr().String(), 1)
}

// Slow delays whatever goes in either direction.
func (p *Proxy) Slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut stops to pass on anything, of connections that are there and of new ones.
// Neither side is told.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cut {
		p.cut, p.healed = true, make(chan struct{})
	}
}

// Heal lets new connections through. Those that were there stay as they are for
// as long as their sides want, as where a box on the way has forgotten them.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		p.cut = false
		close(p.healed)
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.keep(client)
		p.all.Go(func() { p.connect(client) })
	}
}

func (p *Proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.through[c] = true
}

func (p *Proxy) connect(client net.Conn) {
	if !p.open() {
		return
	}
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.keep(server)
	dead := make(chan struct{}) // neither direction goes on after a cut
	var once sync.Once
	die := func() { once.Do(func() { close(dead) }) }
	p.all.Go(func() { p.pass(server, client, dead, die) })
	p.pass(client, server, dead, die)
}

// open waits until nothing is cut; false when the test has ended.
func (p *Proxy) open() bool {
	p.mu.Lock()
	healed := p.healed
	p.mu.Unlock()
	select {
	case <-healed:
		return true
	case <-p.done:
		return false
	}
}

type chunk struct {
	at    time.Time
	bytes []byte
}

func (p *Proxy) pass(from, to net.Conn, dead chan struct{}, die func()) {
	chunks := make(chan chunk, 1024)
	p.all.Go(func() {
		for c := range chunks {
			timer := time.NewTimer(time.Until(c.at))
			select {
			case <-timer.C:
			case <-p.done:
				timer.Stop()
				return
			}
			if _, err := to.Write(c.bytes); err != nil {
				return
			}
		}
		_ = to.Close()
	})
	defer close(chunks)
	for {
		bytes := make([]byte, 32<<10)
		n, err := from.Read(bytes)
		p.mu.Lock()
		delay, cut := p.delay, p.cut
		p.mu.Unlock()
		if cut {
			die()
		}
		select {
		case <-dead:
			// Swallowed until a side gives up, and that is not told either.
			_, _ = io.Copy(io.Discard, from)
			<-p.done
			return
		default:
		}
		if n > 0 {
			select {
			case chunks <- chunk{time.Now().Add(delay), bytes[:n]}:
			case <-p.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
