package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/invoicebox/sandbox"
)

// A world is the engine over the real journal, the real client and the sandbox,
// in virtual time: the network is pipes, and what the disk takes does not
// count. It can be killed and started again.
type world struct {
	*service
	accounts []sandbox.Account
	net      *pipes
	serve    func(http.Handler) http.Handler // before the sandbox; nil: nothing
	seen     *callRecorder
	links    []*invoicebox.Transport
	dead     bool
	run      func(*engine.Engine, context.Context) error // nil: Engine.Run
}

// accountName is the name of the i-th account.
func accountName(i int) string {
	if i == 0 {
		return "default"
	}
	return fmt.Sprintf("account-%02d", i)
}

func newWorld(t *testing.T, accounts int, o sandbox.Options) *world {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		service: &service{TB: t, keys: keys, path: filepath.Join(memory(t), "journal.db"), offsets: map[string]int64{}},
		net:     &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}, seen: &callRecorder{},
	}
	for i := range accounts {
		w.accounts = append(w.accounts, sandbox.Account{PartnerID: fmt.Sprint("partner-", i), Token: fmt.Sprint("token-of-", i)})
	}
	o.Accounts = w.accounts
	if w.box, err = sandbox.New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// memory is a folder whose disk costs no time, where there is one: what a disk
// takes does not count in virtual time, but in real time it does.
func memory(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "journal-*") //nolint:usetesting // not where temporary files lie
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

// open starts the server; close ends it, and must come before the bubble's end.
func (w *world) open() (closed func()) {
	api := w.box.API()
	if w.serve != nil {
		api = w.serve(api)
	}
	server := &http.Server{Handler: api, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(w.net) }()
	return func() {
		_ = server.Close()
		<-served
		w.net.cut()
	}
}

// boot opens the journal and runs the engine over it.
func (w *world) boot() {
	w.Helper()
	var err error
	w.j, err = sqlite.Open(w.Context(), sqlite.Options{Path: w.path, Planner: onboarding.NewPlanner(onboarding.PlannerOptions{Now: time.Now}), Mark: sameFile})
	if err != nil {
		w.Fatal(err)
	}
	if err := w.j.InitPositions(w.Context(), []journal.Position{{Topic: topic}}); err != nil {
		w.Fatal(err)
	}
	cfg := engine.Config{
		Journal: w.j, Keys: w.keys, Credentials: credentials.NewSealed(w.keys), EgressRequests: 1_000_000,
		Logger: slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1})),
	}
	for i, a := range w.accounts {
		if err := w.j.EnsureAccount(w.Context(), accountName(i), a.PartnerID); err != nil {
			w.Fatal(err)
		}
		transport := invoicebox.NewTransport(invoicebox.TransportOptions{Dial: w.net.dial})
		client, err := invoicebox.New(invoicebox.Options{
			BaseURL: "http://127.0.0.1", PartnerID: a.PartnerID, Transport: transport,
			Token: func() secret.String { return secret.New(a.Token) },
		})
		if err != nil {
			w.Fatal(err)
		}
		w.links = append(w.links, transport)
		cfg.Accounts = append(cfg.Accounts, engine.Account{Name: accountName(i), Client: &ear{Client: client, account: accountName(i), all: w.seen}})
	}
	if w.change != nil {
		w.change(&cfg)
	}
	pool, err := engine.New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	w.stop, w.result, w.dead = cancel, make(chan error, 1), false
	run := (*engine.Engine).Run
	if w.run != nil {
		run = w.run
	}
	go func() { w.result <- run(pool, ctx) }()
}

// halt drains and closes.
func (w *world) halt() {
	w.Helper()
	w.finish()
	w.unlink()
}

func (w *world) unlink() {
	for _, l := range w.links {
		l.Close()
	}
	w.links = nil
}

// kill ends everything as the death of the process does: nothing is written
// any more, and all connections end in the middle of whatever goes on.
func (w *world) kill() {
	w.Helper()
	if err := w.j.Close(); err != nil {
		w.Errorf("close: %v", err)
	}
	w.net.cut()
	w.stop()
	if err := <-w.result; err != nil && !errors.Is(err, journal.ErrClosed) {
		w.Errorf("Run: %v", err)
	}
	w.unlink()
}

// eventFor is event for any account.
func (w *world) eventFor(account string, kind journal.Kind, shop, id, value string) journal.Event {
	w.Helper()
	return engine.MakeEvent(w, w.keys, topic, journal.ShopKey{Account: account, Shop: shop}, kind, id, value)
}

// A heard call is one that may have reached the server.
type heard struct {
	account  string
	op       invoicebox.Operation
	value    string
	from, to time.Time
	answered bool
	status   int
}

// A callRecorder hears all calls of all processes.
type callRecorder struct {
	mu    sync.Mutex
	calls []heard
}

func (e *callRecorder) note(account, value string, x invoicebox.Exchange) {
	if x.Written == 0 && !x.HasStatus() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, heard{account, x.Operation, value, x.Started, x.Finished, x.HasStatus(), x.Status})
}

// of lists the calls that count for an account, or for all with "", by start.
func (e *callRecorder) of(account string) (out []heard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.calls {
		if account == "" || c.account == account && c.op != invoicebox.Check {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b heard) int { return a.from.Compare(b.from) })
	return out
}

// worst is the most requests that any placement of the server's count, between
// the beginning of each request and its response (or the slack after its connection
// was closed), can put into one sliding window.
func worst(calls []heard, window, slack time.Duration) int {
	type span struct{ from, to time.Time }
	spans := make([]span, len(calls))
	for i, c := range calls {
		spans[i] = span{c.from, c.to}
		if !c.answered {
			spans[i].to = c.to.Add(slack)
		}
	}
	// The window that holds most begins at the latest instant of one of them.
	slices.SortFunc(spans, func(a, b span) int { return a.to.Compare(b.to) })
	starts := make([]time.Time, len(spans))
	for i, s := range spans {
		starts[i] = s.from
	}
	slices.SortFunc(starts, time.Time.Compare)
	most := 0
	for i, s := range spans {
		begun, _ := slices.BinarySearchFunc(starts, s.to.Add(window), time.Time.Compare) // before the window's end
		most = max(most, begun-i)
	}
	return most
}

// ear is a client whose calls are heard.
type ear struct {
	engine.Client
	account string
	all     *callRecorder
}

func (e *ear) Invite(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	x := e.Client.Invite(ctx, a, v)
	e.all.note(e.account, v.Reveal(), x)
	return x
}

func (e *ear) Activate(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	x := e.Client.Activate(ctx, a, v)
	e.all.note(e.account, v.Reveal(), x)
	return x
}

func (e *ear) CheckToken(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	x := e.Client.CheckToken(ctx, a, v)
	e.all.note(e.account, "", x)
	return x
}

func (e *ear) CheckOwnToken(ctx context.Context) invoicebox.Exchange {
	x := e.Client.CheckOwnToken(ctx)
	e.all.note(e.account, "", x)
	return x
}

// pipes is a listener without a network, whose connections can be cut.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	conns  []net.Conn
}

func (l *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.accept <- there:
		l.mu.Lock()
		l.conns = append(l.conns, here)
		l.mu.Unlock()
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// quantile is the value below which the share q of the sorted list lies.
func quantile[T cmp.Ordered](sorted []T, q float64) T {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// slowJournal is a journal whose writes take their time.
type slowJournal struct {
	engine.Journal
	commit time.Duration
}

func (s slowJournal) Claim(ctx context.Context, r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	time.Sleep(s.commit)
	return s.Journal.Claim(ctx, r)
}

func (s slowJournal) BeginAttempt(ctx context.Context, r journal.AttemptStart) (journal.AttemptID, error) {
	time.Sleep(s.commit)
	return s.Journal.BeginAttempt(ctx, r)
}

func (s slowJournal) SaveResponse(ctx context.Context, r journal.Receipt) (journal.State, bool, error) {
	time.Sleep(s.commit)
	return s.Journal.SaveResponse(ctx, r)
}

func (s slowJournal) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (journal.State, bool, journal.AttemptID, error) {
	time.Sleep(s.commit)
	return s.Journal.SaveResponseAndBeginCheck(ctx, r, c)
}

func (s slowJournal) Apply(ctx context.Context, t journal.Transition) error {
	time.Sleep(s.commit)
	return s.Journal.Apply(ctx, t)
}
