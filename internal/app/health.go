package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof" // #nosec G108 -- no server uses http.DefaultServeMux
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/connlimit"
)

// A readiness reports whether a part can do its work, and describes its state
// without secrets.
type readiness func(ctx context.Context) (ok bool, words string)

// withEffect adds the effect to the report of a part that is not ready.
func withEffect(cost string, r readiness) readiness {
	return func(ctx context.Context) (bool, string) {
		ok, words := r(ctx)
		if !ok {
			words += "; meanwhile " + cost
		}
		return ok, words
	}
}

// health serves /livez and /readyz. Parts are added as they start. It is not ready
// before all parts were added.
type health struct {
	mu       sync.Mutex
	parts    []healthPart
	complete bool
	draining bool
	loops    []healthLoop
}

// stuckAfter is how long a loop may make no step. Each loop makes one every few seconds.
// No call blocks it for as long, unless the journal is not available.
const stuckAfter = 5 * time.Minute

// A healthLoop is a loop of the worker that must not stop.
type healthLoop struct {
	name    string
	idle    func() time.Duration // for how long it has made no step; 0 while it does not run
	waitsOn readiness            // while this is not ready, a restart does not help
}

// watch adds a loop to those that /livez checks.
func (h *health) watch(name string, idle func() time.Duration, waitsOn readiness) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loops = append(h.loops, healthLoop{name, idle, waitsOn})
}

// alive reports whether a restart would not help: every loop runs, or waits for something
// outside of the worker. A drain ends by itself.
func (h *health) alive(ctx context.Context) (ok bool, words string) {
	h.mu.Lock()
	loops, draining := slices.Clone(h.loops), h.draining
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, l := range loops {
		if draining || l.idle() < stuckAfter {
			continue
		}
		ready, _ := l.waitsOn(ctx)
		// The cause of the wait may have ended just before the check.
		if idle := l.idle(); ready && idle >= stuckAfter {
			return false, fmt.Sprintf("not alive: %s has made no step for %s, and the journal can be written\n", l.name, idle.Round(time.Second))
		}
	}
	return true, "alive\n"
}

// A healthPart is one line of /readyz.
type healthPart struct {
	name  string
	ready readiness
	noted bool // it is reported, and never makes /readyz fail
}

func newHealth() *health { return &health{} }

func (h *health) add(name string, r readiness) { h.append(healthPart{name: name, ready: r}) }

// note adds a part that reports its state and never makes the worker not ready.
func (h *health) note(name string, r readiness) {
	h.append(healthPart{name: name, ready: r, noted: true})
}

func (h *health) append(p healthPart) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parts = append(h.parts, p)
}

func (h *health) started() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.complete = true
}

func (h *health) startDraining() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// report reports for every part whether it is ready.
func (h *health) report(ctx context.Context) (ready bool, text string) {
	h.mu.Lock()
	parts := slices.Clone(h.parts)
	ready = h.complete && !h.draining
	var b strings.Builder
	switch {
	case h.draining:
		b.WriteString("not ready: worker: draining\n")
	case !h.complete:
		b.WriteString("not ready: worker: starting\n")
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, p := range parts {
		ok, words := p.ready(ctx)
		verdict := "ready"
		if p.noted {
			if !ok {
				verdict = "degraded"
			}
		} else if !ok {
			verdict, ready = "not ready", false
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", verdict, p.name, words)
	}
	return ready, b.String()
}

// handler serves metrics, liveness and readiness; with profiling also Go's profiles.
func (h *health) handler(gatherer prometheus.Gatherer, profiling bool, logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
		EnableOpenMetrics: true, // exemplars are in this format only
	}))
	plain := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		alive, text := h.alive(r.Context())
		status := http.StatusOK
		if !alive {
			status = http.StatusServiceUnavailable
		}
		plain(w, status, text)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ready, text := h.report(r.Context())
		status := http.StatusOK
		if !ready {
			status = http.StatusServiceUnavailable
		}
		plain(w, status, text)
	})
	if profiling {
		addProfiles(mux)
	}
	return mux
}

// addProfiles adds the handlers of net/http/pprof. That package adds them to
// http.DefaultServeMux too, which no server of this program uses.
func addProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// listen opens the listener of --listen.
func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &config.Error{Setting: "listen", Value: address, Want: "cannot be listened on: " + netReason(err)}
	}
	return l, nil
}

func netReason(err error) string {
	text := err.Error()
	return strings.TrimSpace(text[strings.LastIndex(text, ": ")+1:])
}

// listenBounds is for the connections to --listen: scrapers and probes.
func listenBounds() connlimit.Bounds { return connlimit.Bounds{Total: 128, PerAddress: 32} }

func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: 20 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
