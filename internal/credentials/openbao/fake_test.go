package openbao_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/schemas"
)

// A fake is KV version 2 in memory, with faults before or after the effect of a
// request. A real server holds the store to the same suite; this one answers what a
// real one cannot be made to.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	paths    map[string][]map[string]any
	settings map[string]map[string]any
	requests []string // method and path
	bodies   []string
	token    string // that is accepted
	logins   int
	before   func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	after    func(w http.ResponseWriter, r *http.Request) bool // the same, after the effect
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{paths: map[string][]map[string]any{}, settings: map[string]map[string]any{}, token: "good"}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests, f.bodies = append(f.requests, r.Method+" "+r.URL.Path), append(f.bodies, string(body))
	if f.before != nil && f.before(w, r) {
		return
	}
	status, answer := f.answer(r, body)
	if f.after != nil && f.after(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *fake) answer(r *http.Request, body []byte) (int, any) {
	refused := func(status int, text ...string) (int, any) { return status, map[string]any{"errors": text} }
	data := func(d any) (int, any) { return 200, map[string]any{"data": d} }
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	if strings.HasSuffix(path, "/login") {
		f.logins++
		f.token = fmt.Sprintf("token-%d", f.logins)
		return 200, map[string]any{"auth": map[string]any{"client_token": f.token, "lease_duration": 3600, "renewable": true}}
	}
	if r.Header.Get("X-Vault-Token") != f.token {
		return refused(403, "permission denied")
	}
	var in struct {
		Options  struct{ CAS int }
		Data     map[string]any
		Versions []int
	}
	if len(body) > 0 && json.Unmarshal(body, &in) != nil {
		return refused(400, "failed to parse JSON input")
	}
	mount, rest, _ := strings.Cut(path, "/")
	kind, key, _ := strings.Cut(rest, "/")
	versions := f.paths[key]
	metadata := func(n int) map[string]any {
		return map[string]any{"version": n, "destroyed": n <= len(versions) && versions[n-1] == nil, "deletion_time": ""}
	}
	switch {
	case path == "auth/token/lookup-self":
		return data(map[string]any{"ttl": 0, "renewable": false})
	case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
		return data(map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	case mount != "secret":
		return refused(404, "no handler for route")
	case kind == "metadata":
		var settings map[string]any
		_ = json.Unmarshal(body, &settings)
		f.settings[key] = settings
		return 204, nil
	case kind == "destroy":
		for _, n := range in.Versions {
			if n >= 1 && n <= len(versions) {
				versions[n-1] = nil
			}
		}
		return 204, nil
	case kind != "data":
		return refused(404)
	case r.Method == http.MethodGet:
		n := len(versions)
		if asked := r.URL.Query().Get("version"); asked != "" {
			n, _ = strconv.Atoi(asked)
		}
		if n < 1 || n > len(versions) {
			return refused(404)
		}
		status, answer := data(map[string]any{"data": versions[n-1], "metadata": metadata(n)})
		if versions[n-1] == nil {
			status = 404
		}
		return status, answer
	case in.Options.CAS != len(versions):
		return refused(400, "check-and-set parameter did not match the current version")
	}
	f.paths[key] = append(versions, in.Data)
	return data(metadata(len(versions) + 1))
}

// set plants faults.
func (f *fake) set(before, after func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

// count says how many requests a path got, and how many versions a key has.
func (f *fake) count(method, path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if r == method+" "+path {
			n++
		}
	}
	return n
}

func (f *fake) versions(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.paths[key])
}

func (f *fake) open(t *testing.T, login openbao.Login, change func(*openbao.Config)) *openbao.Store {
	t.Helper()
	c := openbao.Config{Name: schemas.StoreVault, Address: f.URL, Mount: baotest.Mount, Keys: newKeys(t), Login: login}
	if change != nil {
		change(&c)
	}
	s, err := openbao.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
