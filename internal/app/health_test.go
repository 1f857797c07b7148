package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/keyset"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestHealth(t *testing.T) {
	h := newHealth()
	handler := h.handler(newRegistry("1.2.3"), false, quiet())
	ready, words := true, "consuming"
	check := func(when string, status int, text string) {
		t.Helper()
		if code, body := get(t, handler, "/readyz"); code != status || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %d and %q", when, code, body, status, text)
		}
		if code, _ := get(t, handler, "/livez"); code != http.StatusOK {
			t.Errorf("%s: /livez says %d", when, code)
		}
	}
	check("at first", 503, "not ready: worker: starting")
	h.add("consumer", func(context.Context) (bool, string) { return ready, words })
	check("a part is there", 503, "ready: consumer: consuming")
	h.started()
	check("started", 200, "ready: consumer: consuming")
	ready, words = false, "joining the consumer group"
	check("left the group", 503, "not ready: consumer: joining")
	ready = true
	check("back again", 200, "ready")
	h.startDraining()
	check("draining", 503, "not ready: worker: draining")
	if code, body := get(t, handler, "/metrics"); code != 200 || !strings.Contains(body, `invoicebox_worker_build_info{go="go1.`) || !strings.Contains(body, `version="1.2.3"} 1`) {
		t.Errorf("/metrics: %d", code)
	}
}

// /livez fails when a loop has stopped and nothing outside holds it up, and only then.
func TestHealth_Alive(t *testing.T) {
	h := newHealth()
	handler := h.handler(newRegistry("1.2.3"), false, quiet())
	idle, writable := time.Duration(0), true
	h.watch("dispatcher", func() time.Duration { return idle }, func(context.Context) (bool, string) { return writable, "" })
	check := func(when string, status int, text string) {
		t.Helper()
		if code, body := get(t, handler, "/livez"); code != status || body != text {
			t.Errorf("%s: %d %q, want %d and %q", when, code, body, status, text)
		}
	}
	check("running", 200, "alive\n")
	idle = stuckAfter - time.Second
	check("slow", 200, "alive\n")
	idle = stuckAfter
	check("stuck", 503, "not alive: dispatcher has made no step for 5m0s, and the journal can be written\n")
	writable = false
	check("the journal is not available", 200, "alive\n")
	writable = true
	ended := idle
	h.watch("consumer", func() time.Duration { return ended }, func(context.Context) (bool, string) { ended = 0; return true, "" })
	idle = 0
	check("a step during the probe of the journal", 200, "alive\n")
	h.startDraining()
	check("draining", 200, "alive\n")
}

func TestHealth_Profiles(t *testing.T) {
	profiles := []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/debug/pprof/symbol", "/debug/pprof/trace?seconds=0.01"}
	off, on := newHealth().handler(newRegistry("1.2.3"), false, quiet()), newHealth().handler(newRegistry("1.2.3"), true, quiet())
	for _, path := range profiles {
		if code, _ := get(t, off, path); code != http.StatusNotFound {
			t.Errorf("%s answers %d without --pprof", path, code)
		}
		if code, body := get(t, on, path); code != http.StatusOK || body == "" {
			t.Errorf("%s answers %d and %d bytes with --pprof", path, code, len(body))
		}
	}
	if code, _ := get(t, on, "/livez"); code != http.StatusOK {
		t.Errorf("/livez answers %d with --pprof", code)
	}
}

// Probes are answered while the worker starts and adds its parts.
func TestHealth_AddWhileReporting(t *testing.T) {
	h := newHealth()
	there := func(context.Context) (bool, string) { return true, "there" }
	h.add("first", there)
	added := make(chan struct{})
	go func() {
		defer close(added)
		for i := range 5000 {
			h.add(strconv.Itoa(i), there)
		}
	}()
	for adding := true; adding; {
		if ready, text := h.report(t.Context()); ready || !strings.Contains(text, "ready: first: there\n") {
			t.Fatalf("%t, %.100s", ready, text)
		}
		select {
		case <-added:
			adding = false
		default:
		}
	}
}

type fakeFile struct{ err error }

func (f *fakeFile) Setting() string { return "token-file" }
func (f *fakeFile) Look() error     { return f.err }

func TestFilesReady(t *testing.T) {
	f := &fakeFile{}
	ready := filesReady([]WatchedFile{&fakeFile{}, f})
	if ok, words := ready(t.Context()); !ok || words != "secrets and certificates can be read" {
		t.Errorf("%t, %s", ok, words)
	}
	f.err = errors.New("/run/token is empty")
	// What was read before is used: the service can do its work.
	if ok, words := ready(t.Context()); !ok || !strings.Contains(words, "the previous values are used; --token-file: /run/token is empty") {
		t.Errorf("%t, %s", ok, words)
	}
}

type fakeKeeper struct {
	kept   []byte
	err    error
	writes int
}

func (f *fakeKeeper) KeysetCheck(context.Context) ([]byte, error) { return f.kept, nil }
func (f *fakeKeeper) SetKeysetCheck(_ context.Context, b []byte) error {
	f.writes++
	if string(b) != string(f.kept) {
		return errors.New("other bytes")
	}
	return f.err
}

func TestTheWriteProbe(t *testing.T) {
	now := time.Unix(10_000, 0)
	fake := &fakeKeeper{kept: []byte("sealed")}
	p := newWriteProbe(fake)
	p.now = func() time.Time { return now }
	for range 3 {
		if ok, words := p.ready(t.Context()); !ok || words != "can be written" {
			t.Errorf("%v %q", ok, words)
		}
	}
	if fake.writes != 1 {
		t.Errorf("%d writes within a moment", fake.writes)
	}
	now = now.Add(time.Minute)
	fake.err = errors.New("disk full at /secret/place")
	if ok, words := p.ready(t.Context()); ok || words != "cannot be written" {
		t.Errorf("%v %q", ok, words)
	}
}

// A firstKeeper keeps what comes first, as a journal does.
type firstKeeper struct {
	kept  []byte
	early bool // the next look is one from before anything was kept
}

func (f *firstKeeper) KeysetCheck(context.Context) ([]byte, error) {
	if f.early {
		f.early = false
		return nil, nil
	}
	return f.kept, nil
}

func (f *firstKeeper) SetKeysetCheck(_ context.Context, b []byte) error {
	if f.kept == nil {
		f.kept = b
	}
	return nil
}

// Of two replicas that begin a journal at the same moment with different keysets
// one is refused.
func TestOneKeysetForANewJournal(t *testing.T) {
	identity, shared := uuid.New(), &firstKeeper{}
	for i, refused := range []bool{false, true} {
		keys, err := keyset.New()
		if err != nil {
			t.Fatal(err)
		}
		shared.early = true
		if err := checkKeyset(t.Context(), identity, shared, keys); (err != nil) != refused {
			t.Errorf("replica %d: %v", i, err)
		}
	}
}
