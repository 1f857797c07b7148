package virtual

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// An ill is how Invoicebox is ill as a whole.
type ill int

const (
	healthy ill = iota
	refuses     // 503 to everything
	limits      // 429 to everything
	hangs       // takes requests and never answers
)

// An apiHold stands before the sandbox and notes when each request came in.
type apiHold struct {
	next http.Handler

	mu      sync.Mutex
	ill     ill
	arrived []time.Time
	turned  int // requests that did not reach the sandbox
	hung    int // of them, those that got no answer
}

func (g *apiHold) set(i ill) {
	g.mu.Lock()
	g.ill = i
	g.mu.Unlock()
}

func (g *apiHold) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	i := g.ill
	g.arrived = append(g.arrived, time.Now())
	if i != healthy {
		g.turned++
	}
	if i == hangs {
		g.hung++
	}
	g.mu.Unlock()
	if i != healthy {
		// Only behind the body does the server look whether the client is still there.
		_, _ = io.Copy(io.Discard, r.Body)
	}
	switch i {
	case refuses:
		w.WriteHeader(http.StatusServiceUnavailable)
	case limits:
		w.WriteHeader(http.StatusTooManyRequests)
	case hangs:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case healthy:
		g.next.ServeHTTP(w, r)
	}
}

// most is how many requests any window of that length held.
func (g *apiHold) most(window time.Duration) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	most, from := 0, 0
	for i, at := range g.arrived {
		for at.Sub(g.arrived[from]) >= window {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}
