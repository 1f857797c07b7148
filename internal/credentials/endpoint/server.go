package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/connlimit"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// Path is the one resource.
const Path = "/v1/credentials"

// Bounds of requests.
const (
	maxReads       = 64 // requests that read at once
	maxHeaderBytes = 16 << 10
	maxQueryBytes  = 8 << 10 // a reference is shorter than schemas.MaxReferenceBytes, percent-encoded three times as long
	maxTokenBytes  = 4 << 10
	readWithin     = 5 * time.Second
	waitForTurn    = 2 * time.Second // of maxReads
	retryAfter     = 5 * time.Second
	auditRefusal   = 2 * time.Second // for the entry of a secret whose store did not answer
)

// Journal is the part of the journal that the endpoint needs.
type Journal interface {
	PublishedCredential(ctx context.Context, k journal.ShopKey) (journal.Credential, error)
	CredentialVersion(ctx context.Context, k journal.ShopKey, reference string) (int64, error)
	AppendAudit(ctx context.Context, entries ...journal.AuditEntry) error
}

// Secrets reads the secret of a row, as [credentials.Store] does.
type Secrets interface {
	Read(ctx context.Context, row journal.Credential) (credentials.Secret, error)
}

// Config configures a server.
type Config struct {
	Journal Journal
	Secrets Secrets
	Callers *Callers
	Metrics *Metrics
	Logger  *slog.Logger
}

// A Server answers callers.
type Server struct {
	cfg     Config
	audit   *auditor
	turns   chan struct{}
	failing atomic.Bool // the last read could not reach the journal
}

// New returns a server. [Server.Run] must run while it answers.
func New(c Config) *Server {
	return &Server{cfg: c, audit: newAuditor(c.Journal), turns: make(chan struct{}, maxReads)}
}

// Run writes the audit entries of requests until ctx ends.
func (s *Server) Run(ctx context.Context) { s.audit.run(ctx) }

// Serve answers on a listener until ctx ends; running requests then have a second to end.
// With a nil config it does not use TLS.
func (s *Server) Serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	handler := http.Handler(s)
	if config == nil {
		handler = connlimit.LocalNames(l, handler)
	}
	server := &http.Server{
		Handler: handler, TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 20 * time.Second, IdleTimeout: 60 * time.Second, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug), Protocols: new(http.Protocols),
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered as all other requests are
	}
	server.Protocols.SetHTTP1(true)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(ending) != nil {
			_ = server.Close()
		}
	})
	bounds := connlimit.Bounds{Total: 256, PerAddress: 128}
	var err error
	if config == nil {
		err = connlimit.Serve(server, l, bounds)
	} else {
		err = connlimit.ServeTLS(server, l, bounds, "", "")
	}
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	s.cfg.Metrics.count(s.answer(w, r))
}

// refuse sends a problem.
func refuse(w http.ResponseWriter, o outcome, wait time.Duration) outcome {
	newProblem(o).write(w, wait)
	return o
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) outcome {
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close") // the body is not read
		return refuse(w, invalidRequest, 0)
	}
	// Only one spelling of the path: without dots, doubled slashes or escapes.
	if r.URL.Path != Path || r.URL.RawPath != "" || r.URL.Host != "" {
		return refuse(w, notFound, 0)
	}
	if r.Method != http.MethodGet {
		return refuse(w, wrongMethod, 0)
	}
	caller := s.caller(r)
	if caller == nil {
		return refuse(w, unauthenticated, 0)
	}
	if wait, ok := caller.limits.take(time.Now(), caller.Rate); !ok {
		return refuse(w, rateLimited, wait)
	}
	select {
	case s.turns <- struct{}{}:
	default:
		waiting := time.NewTimer(waitForTurn)
		defer waiting.Stop()
		select {
		case s.turns <- struct{}{}:
		case <-waiting.C:
			return refuse(w, busy, time.Second)
		case <-r.Context().Done():
			return refuse(w, busy, time.Second)
		}
	}
	defer func() { <-s.turns }()
	defer s.cfg.Metrics.reading()()
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	return s.resolve(ctx, w, r, caller)
}

// caller returns the sender of a request, nil if it is unknown. An Authorization header
// alone decides: a certificate does not compensate for a wrong token.
func (s *Server) caller(r *http.Request) *Caller {
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		scheme, token, ok := strings.Cut(values[0], " ")
		if len(values) != 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxTokenBytes {
			return nil
		}
		return s.cfg.Callers.byToken(token)
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	// The handshake has verified the chain, but the certificate may have expired since.
	now := time.Now()
	for _, chain := range r.TLS.VerifiedChains {
		valid := true
		for _, c := range chain {
			valid = valid && !now.After(c.NotAfter)
		}
		if valid {
			return s.cfg.Callers.bySubject(subjectOf(chain[0]))
		}
	}
	return nil
}

// referenceOf reads the parameter. Its value is bounded and has one spelling.
func referenceOf(rawQuery string) (schemas.Reference, bool) {
	if len(rawQuery) > maxQueryBytes {
		return schemas.Reference{}, false
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil || len(values) != 1 || len(values["ref"]) != 1 {
		return schemas.Reference{}, false
	}
	ref, err := schemas.ParseReference(values["ref"][0])
	return ref, err == nil
}

// An order is how a requested reference compares with the current one.
type order uint8

const (
	same  order = iota
	older       // the current one has replaced it
	newer       // no event has announced it
)

// age returns how a requested reference compares with the shop's current credentials. The
// journal's versions decide if it knows the reference: a store has its own numbers, and a
// newer activation can lead to a secret that the store had before. Other references were
// replaced if they name another store or mount, or have a lower version.
func (s *Server) age(ctx context.Context, asked schemas.Reference, row journal.Credential, current schemas.Reference) (order, error) {
	isPlace := asked.Store == current.Store && asked.Mount == current.Mount
	if isPlace && (asked.Version == 0 || asked.Version == current.Version) {
		return same, nil
	}
	version, err := s.cfg.Journal.CredentialVersion(ctx, row.Shop, asked.Pinned(asked.Version).String())
	switch {
	case errors.Is(err, journal.ErrNotFound):
		if isPlace && asked.Version > current.Version {
			return newer, nil
		}
		return older, nil
	case err != nil:
		return same, err
	case version > row.Version:
		return newer, nil
	}
	return older, nil
}

// answered is the body of a response.
type answered struct {
	Account    string `json:"account"`
	ShopID     string `json:"shopId"`
	Version    int64  `json:"version"`
	MerchantID string `json:"merchantId"`
	Token      string `json:"token"`
}

func (s *Server) resolve(ctx context.Context, w http.ResponseWriter, r *http.Request, caller *Caller) outcome {
	entry := journal.AuditEntry{At: time.Now(), Actor: "caller:" + caller.Name, Act: "credentials.refused"}
	// refused writes the audit entry of a request that gets no secret, and sends the
	// problem.
	refused := func(p problem, o outcome) outcome {
		entry.Detail = strings.TrimSpace(entry.Detail + " " + string(o))
		if err := s.audit.write(ctx, entry); err != nil {
			return s.unavailable(w, err)
		}
		p.write(w, 0)
		return o
	}
	ref, ok := referenceOf(r.URL.RawQuery)
	if !ok {
		return refused(newProblem(invalidRequest), invalidRequest)
	}
	shop := journal.ShopKey{Account: ref.Account, Shop: ref.Shop}
	entry.Subject, entry.Detail = ref.Account+"/"+ref.Shop, ref.String()
	if !caller.mayRead(shop) {
		return refused(newProblem(unknown), unknown)
	}
	row, err := s.cfg.Journal.PublishedCredential(ctx, shop)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return refused(newProblem(unknown), unknown)
	case errors.Is(err, journal.ErrDisconnected):
		return refused(newProblem(disconnected), disconnected)
	}
	if err != nil {
		return s.unavailable(w, err)
	}
	current, err := schemas.ParseReference(row.Reference)
	if err != nil {
		s.cfg.Logger.Error("a row of credentials has no valid reference", "account", ref.Account, "shop", ref.Shop, "version", row.Version)
		return refused(newProblem(unreadable), unreadable)
	}
	how, err := s.age(ctx, ref, row, current)
	switch {
	case err != nil:
		return s.unavailable(w, err)
	case how == newer:
		return refused(newProblem(unknown), unknown)
	case how == older:
		p := newProblem(replaced)
		p.CurrentRef, p.CurrentVersion = row.Reference, current.Version
		return refused(p, replaced)
	}
	entry.Detail = row.Reference
	secret, err := s.cfg.Secrets.Read(ctx, row)
	switch {
	case errors.Is(err, keyset.ErrNoKey):
		s.cfg.Logger.Error("a secret cannot be opened because the keyset lacks its key", "account", ref.Account, "shop", ref.Shop, "version", row.Version)
		return refused(newProblem(keyMissing), keyMissing)
	case errors.Is(err, credentials.ErrAbsent):
		s.cfg.Logger.Error("a secret is not in its store: it was deleted", "account", ref.Account, "shop", ref.Shop, "version", row.Version)
		return refused(newProblem(unreadable), unreadable)
	case errors.Is(err, credentials.ErrUnreadable):
		s.cfg.Logger.Error("a secret cannot be opened: its row was moved or changed, or is damaged", "account", ref.Account, "shop", ref.Shop, "version", row.Version)
		return refused(newProblem(unreadable), unreadable)
	case err != nil:
		// The store may have used up the time of ctx; the journal can still be written.
		auditing, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditRefusal)
		defer cancel()
		entry.Detail += " " + string(unavailable)
		return s.unavailable(w, errors.Join(err, s.audit.write(auditing, entry)))
	}
	entry.Act = "credentials.read"
	tag := `"` + strconv.FormatInt(current.Version, 10) + `"`
	has := r.Header.Get("If-None-Match") == tag
	if has {
		entry.Detail += " " + string(notModified)
	}
	if err := s.audit.write(ctx, entry); err != nil {
		return s.unavailable(w, err)
	}
	s.works()
	w.Header().Set("ETag", tag)
	if has {
		w.WriteHeader(http.StatusNotModified)
		return notModified
	}
	body, err := json.Marshal(answered{Account: ref.Account, ShopID: ref.Shop, Version: current.Version, MerchantID: secret.MerchantID, Token: secret.Token.Reveal()})
	if err != nil { // a secret that was stored is UTF-8
		return refuse(w, unreadable, 0)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
	clear(body)
	return given
}

// unavailable answers while the journal, or the store of the secret, cannot be used. It
// logs the beginning of that state.
func (s *Server) unavailable(w http.ResponseWriter, err error) outcome {
	if !errors.Is(err, context.Canceled) && !s.failing.Swap(true) {
		s.cfg.Logger.Error("credentials cannot be read or audited; callers get status 503", "err", err.Error())
	}
	return refuse(w, unavailable, retryAfter)
}

func (s *Server) works() {
	if s.failing.Load() && s.failing.Swap(false) {
		s.cfg.Logger.Info("credentials can be read again")
	}
}
