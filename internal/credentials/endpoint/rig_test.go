package endpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// The texts that must not appear anywhere but in responses.
const (
	markedShopToken   = "MARKED-shop-token"
	markedCallerToken = "MARKED-caller-token-one"
	otherCallerToken  = "MARKED-caller-token-two"
)

// shelf is a journal: rows that the sealed store made, and the audit entries.
type shelf struct {
	mu           sync.Mutex
	rows         map[journal.ShopKey][]journal.Credential
	disconnected map[journal.ShopKey]bool
	audit        []journal.AuditEntry
	commits      int
	lookups      int
	readErr      error
	auditErr     error
	running      int
	mostAtOne    int
	hold         chan struct{} // a lookup waits for it; nil: none does
}

func (s *shelf) PublishedCredential(ctx context.Context, k journal.ShopKey) (journal.Credential, error) {
	s.mu.Lock()
	s.lookups++
	s.running++
	s.mostAtOne = max(s.mostAtOne, s.running)
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	rows := s.rows[k]
	if s.readErr != nil || ctx.Err() != nil {
		return journal.Credential{}, errors.Join(s.readErr, ctx.Err())
	}
	switch {
	case s.disconnected[k]:
		return journal.Credential{}, journal.ErrDisconnected
	case len(rows) == 0:
		return journal.Credential{}, journal.ErrNotFound
	}
	return rows[len(rows)-1], nil
}

func (s *shelf) CredentialVersion(_ context.Context, k journal.ShopKey, reference string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range slices.Backward(s.rows[k]) {
		if row.Reference == reference {
			return row.Version, nil
		}
	}
	return 0, journal.ErrNotFound
}

func (s *shelf) AppendAudit(_ context.Context, entries ...journal.AuditEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.auditErr != nil {
		return s.auditErr
	}
	s.commits++
	s.audit = append(s.audit, entries...)
	return nil
}

func (s *shelf) fail(read, audit error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readErr, s.auditErr = read, audit
}

// last is the newest audit entry.
func (s *shelf) last() journal.AuditEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.audit) == 0 {
		return journal.AuditEntry{}
	}
	return s.audit[len(s.audit)-1]
}

// A rig is a server over a shelf, with its callers file.
type rig struct {
	*shelf
	t       *testing.T
	server  *Server
	keys    *keyset.Set
	store   *credentials.Sealed
	callers *Callers
	dir     string
	log     *bytes.Buffer
	metrics *prometheus.Registry
}

const twoCallers = `callers:
  - {name: billing, token-file: %[1]s/one, allow: [invoicebox/default/*], requests-per-second: 100000}
  - {name: checkout, token-file: %[1]s/two, allow: [invoicebox/second/shop-1]}
`

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, shelf: &shelf{rows: map[journal.ShopKey][]journal.Credential{}, disconnected: map[journal.ShopKey]bool{}}, dir: t.TempDir(), log: &bytes.Buffer{}, metrics: prometheus.NewRegistry()}
	var err error
	if r.keys, err = keyset.New(); err != nil {
		t.Fatal(err)
	}
	r.store = credentials.NewSealed(r.keys)
	r.write("one", markedCallerToken+"\n")
	r.write("two", otherCallerToken+"\n")
	r.write("callers.yaml", fmt.Sprintf(twoCallers, r.dir))
	logger := slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if r.callers, err = OpenCallers(filepath.Join(r.dir, "callers.yaml"), false, logger); err != nil {
		t.Fatal(err)
	}
	r.server = New(Config{Journal: r.shelf, Secrets: r.store, Callers: r.callers, Metrics: NewMetrics(r.metrics), Logger: logger})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// keep stores the next version of a shop's credentials and returns its reference.
func (r *rig) keep(account, shop string) string {
	r.t.Helper()
	k := journal.ShopKey{Account: account, Shop: shop}
	version := int64(len(r.rows[k]) + 1)
	p, err := r.store.Prepare(r.t.Context(), credentials.Secret{Shop: k, Version: version, MerchantID: "merchant-" + shop, Token: secret.New(fmt.Sprintf("%s-%s-%d", markedShopToken, shop, version))})
	if err != nil {
		r.t.Fatal(err)
	}
	r.rows[k] = append(r.rows[k], p.Row)
	return p.Reference.String()
}

// get asks for a reference with a bearer token; change may be nil.
func (r *rig) get(token, ref string, change func(*http.Request)) *httptest.ResponseRecorder {
	r.t.Helper()
	request := httptest.NewRequest(http.MethodGet, Path+"?ref="+url.QueryEscape(ref), http.NoBody)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if change != nil {
		change(request)
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, request)
	if w.Header().Get("Cache-Control") != "no-store" {
		r.t.Errorf("Cache-Control is %q", w.Header().Get("Cache-Control"))
	}
	return w
}

// wantProblem checks a problem and returns it.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, o outcome) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Type != problemType+string(o) || p.Status != w.Code || w.Code != kinds()[o].status ||
		w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, %s, want %s: %v", w.Code, w.Body, o, err)
	}
	if strings.Contains(w.Body.String(), "MARKED") {
		t.Errorf("the problem %s contains a secret", o)
	}
	return p
}

func shopRef(t *testing.T, account, shop string, version int64) string {
	t.Helper()
	return schemas.Reference{Store: schemas.StoreSealed, Mount: schemas.SealedMount, Account: account, Shop: shop, Version: version}.String()
}
