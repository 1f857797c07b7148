package e2e

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
)

// renewedToken before a token is another token of the same account.
const renewedToken = "renewed-"

// A circuit breaker stands before the sandbox and keeps answers back: their requests have
// come in and had their effect, and nobody has heard of it yet.
type circuit struct {
	api  http.Handler
	keys map[string]subject // by code or address

	mu     sync.Mutex
	shut   bool
	held   map[string]bool // once each
	opened chan struct{}
}

func newCircuit(api http.Handler, subjects []subject) *circuit {
	g := &circuit{api: api, keys: map[string]subject{}, held: map[string]bool{}, opened: make(chan struct{})}
	for _, s := range subjects {
		g.keys[s.text] = s
	}
	return g
}

// close keeps back the first answer of every subject from now on.
func (g *circuit) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

// open gives every answer free.
func (g *circuit) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		g.shut = false
		close(g.opened)
	}
}

func (g *circuit) holds(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held[key]
}

// keep holds its caller until the circuit breaker is open.
func (g *circuit) keep(key string) {
	g.mu.Lock()
	held := g.shut
	g.held[key] = true
	g.mu.Unlock()
	if held {
		<-g.opened
	}
}

func (g *circuit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const bearer = "Bearer "
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), bearer+renewedToken); ok {
		r.Header.Set("Authorization", bearer+token)
	}
	var asked struct {
		Code    string `json:"activationCode"`
		Address string `json:"identifier"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the worker is gone in the middle of its request
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	_ = json.Unmarshal(body, &asked) // checks have no body, and the sandbox judges the rest
	s, known := g.keys[asked.Code+asked.Address]
	g.mu.Lock()
	hold := known && g.shut && !g.held[s.key()]
	g.mu.Unlock()
	switch {
	case !hold:
		g.api.ServeHTTP(w, r)
	case s.late:
		g.keep(s.key())
		g.api.ServeHTTP(w, r)
	default:
		held := &heldAnswer{ResponseWriter: w, keep: sync.OnceFunc(func() { g.keep(s.key()) })}
		defer func() {
			if p := recover(); p != nil { // a cut
				held.keep()
				panic(p)
			}
		}()
		g.api.ServeHTTP(held, r)
	}
}

// A heldAnswer waits before its first byte, and before its connection is cut.
type heldAnswer struct {
	http.ResponseWriter
	keep func()
}

func (h *heldAnswer) WriteHeader(status int) {
	h.keep()
	h.ResponseWriter.WriteHeader(status)
}

func (h *heldAnswer) Write(p []byte) (int, error) {
	h.keep()
	return h.ResponseWriter.Write(p)
}

func (h *heldAnswer) FlushError() error {
	h.keep()
	return http.NewResponseController(h.ResponseWriter).Flush()
}

func (h *heldAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.keep()
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
