package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A service is the engine over the real journal, the real client and the
// sandbox; only Kafka is missing.
type service struct {
	testing.TB
	keys    *keyset.Set
	path    string
	j       journal.Journal
	box     *sandbox.Sandbox
	client  *invoicebox.Client
	offsets map[string]int64
	stop    context.CancelFunc
	result  chan error
	change  func(*engine.Config)
	open    func() (journal.Journal, error) // nil: SQLite
}

const topic = schemas.TypeCodeEntered

func newService(t testing.TB, o sandbox.Options) *service {
	t.Helper()
	s := &service{TB: t, path: filepath.Join(t.TempDir(), "journal.db"), offsets: map[string]int64{}}
	var err error
	if s.keys, err = keyset.New(); err != nil {
		t.Fatal(err)
	}
	if s.box, err = sandbox.New(o); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.box.API())
	t.Cleanup(server.Close)
	s.client, err = invoicebox.New(invoicebox.Options{
		BaseURL: server.URL, PartnerID: sandbox.DefaultPartnerID, Deadline: 5 * time.Second,
		Token: func() secret.String { return secret.New(sandbox.DefaultToken) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	return s
}

// start opens the journal and runs the engine over it.
func (s *service) start() {
	s.Helper()
	var err error
	if s.open != nil {
		s.j, err = s.open()
	} else {
		s.j, err = sqlite.Open(s.Context(), sqlite.Options{Path: s.path, Planner: onboarding.NewPlanner(onboarding.PlannerOptions{Now: time.Now}), Mark: sameFile})
	}
	if err != nil {
		s.Fatal(err)
	}
	if err := s.j.EnsureAccount(s.Context(), "default", sandbox.DefaultPartnerID); err != nil {
		s.Fatal(err)
	}
	if err := s.j.InitPositions(s.Context(), []journal.Position{{Topic: topic}}); err != nil {
		s.Fatal(err)
	}
	cfg := engine.Config{
		Journal: s.j, Keys: s.keys, Credentials: credentials.NewSealed(s.keys), EgressRequests: 1_000_000,
		Accounts:        []engine.Account{{Name: "default", Client: s.client, Requests: 1_000_000}},
		RequestDeadline: 5 * time.Second, Lease: 10 * time.Second, WaitBase: 10 * time.Millisecond, WaitCap: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(s.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if s.change != nil {
		s.change(&cfg)
	}
	pool, err := engine.New(cfg)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	s.stop, s.result = cancel, make(chan error, 1)
	go func() { s.result <- pool.Run(ctx) }()
}

func (s *service) finish() {
	s.Helper()
	s.stop()
	if err := <-s.result; err != nil {
		s.Errorf("Run: %v", err)
	}
	if err := s.j.Close(); err != nil {
		s.Errorf("close: %v", err)
	}
}

func (s *service) event(kind journal.Kind, shop, id, value string) journal.Event {
	s.Helper()
	return engine.MakeEvent(s, s.keys, topic, journal.ShopKey{Account: "default", Shop: shop}, kind, id, value)
}

func (s *service) ingest(events ...journal.Event) journal.Ingested {
	s.Helper()
	from := s.offsets[topic]
	for i := range events {
		events[i].Offset = from + int64(i)
	}
	s.offsets[topic] = from + int64(len(events))
	got, err := s.j.Ingest(s.Context(), journal.Batch{Topic: topic, From: from, Next: s.offsets[topic], Events: events})
	if err != nil {
		s.Fatal(err)
	}
	return got
}

// published reads and checks everything in the outbox.
func (s *service) published() (out []schemas.Event) {
	s.Helper()
	var after int64
	ids := map[string]bool{}
	sequences := map[string]int64{}
	for {
		rows, err := s.j.Pending(s.Context(), after, 500, 1<<20)
		if err != nil {
			s.Fatal(err)
		}
		if len(rows) == 0 {
			return out
		}
		for _, r := range rows {
			after = r.Row
			e, err := schemas.DecodeOutput(r.Message)
			if err != nil {
				s.Fatalf("%s breaks the contract: %v", r.Type, err)
			}
			if ids[e.ID] {
				s.Errorf("%s is there twice", e.ID)
			}
			ids[e.ID] = true
			if e.Sequence <= sequences[e.Subject] {
				s.Errorf("shop %s: sequence %d after %d", e.Subject, e.Sequence, sequences[e.Subject])
			}
			sequences[e.Subject] = e.Sequence
			out = append(out, e)
		}
	}
}

// resolves tells whether an activated event leads to the sandbox's token.
func (s *service) resolves(a schemas.Activated, code string) bool {
	s.Helper()
	ref, err := schemas.ParseReference(a.Credentials.Ref)
	if err != nil {
		s.Fatal(err)
	}
	c, err := s.j.Credential(s.Context(), journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, ref.Version)
	if err != nil {
		s.Fatal(err)
	}
	got, err := credentials.NewSealed(s.keys).Open(c)
	if err != nil {
		s.Fatal(err)
	}
	return got.Token.Reveal() == s.box.TokenOf(code) && got.MerchantID == s.box.MerchantOf(code) && a.MerchantID == got.MerchantID
}

func calm() sandbox.Options {
	return sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1}
}

// Everything once: invited, activated, verified, resolvable; the same events
// again change nothing; stops in the middle lose and repeat nothing.
func TestService_OverRealJournal(t *testing.T) {
	const shops = 150
	s := newService(t, calm())
	s.start()
	var events []journal.Event
	for i := range shops {
		shop := fmt.Sprint("shop-", i)
		events = append(events, s.event(journal.Invite, shop, fmt.Sprint("i", i), fmt.Sprintf("s%d@example.com", i)),
			s.event(journal.Activate, shop, fmt.Sprint("a", i), fmt.Sprint("code-", i)))
	}
	began := time.Now()
	for chunk := events; len(chunk) > 0; chunk = chunk[min(100, len(chunk)):] {
		s.ingest(chunk[:min(100, len(chunk))]...)
	}
	for range 3 { // a drain and a new process in the middle
		<-s.j.OutboxChanged()
		s.finish()
		s.start()
	}
	s.settle(30 * time.Second)
	t.Logf("%d events in %v", len(events), time.Since(began))
	if got := s.ingest(events...); got.Repeated != len(events) {
		t.Errorf("the same events again: %+v", got)
	}
	s.settle(5 * time.Second)
	seen := map[string]int{}
	for _, e := range s.published() {
		seen[e.Type+" "+e.Subject]++
		if a, ok := e.Data.(schemas.Activated); ok {
			if a.Verification != schemas.VerificationVerified || !s.resolves(a, "code-"+strings.TrimPrefix(e.Subject, "shop-")) {
				t.Errorf("shop %s: %+v does not resolve", e.Subject, a)
			}
		}
	}
	for i := range shops {
		for _, typ := range []string{schemas.TypeInvited, schemas.TypeActivated} {
			if n := seen[fmt.Sprintf("%s shop-%d", typ, i)]; n != 1 {
				t.Errorf("shop %d: %d %s events", i, n, typ)
			}
		}
	}
	if len(seen) != 2*shops {
		t.Errorf("%d kinds of events, want %d", len(seen), 2*shops)
	}
	effects := s.box.Effects()
	if effects.Overlaps != 0 {
		t.Errorf("%d overlaps", effects.Overlaps)
	}
	for _, a := range effects.Activations {
		if a.Requests != 1 || a.Effects != 1 {
			t.Errorf("code %+v", a)
		}
	}
	for _, i := range effects.Invitations {
		if i.Requests != 1 || i.Effects != 1 {
			t.Errorf("address %+v", i)
		}
	}
	s.finish()
}

// Each fate that can be had by value ends where the tables say.
func TestService_FatesOverRealJournal(t *testing.T) {
	if testing.Short() {
		t.Skip("one shop after the other: the race detector has nothing to find, and takes minutes")
	}
	t.Parallel() // it waits most of the time
	s := newService(t, calm())
	s.change = func(c *engine.Config) {
		c.VerifyFor, c.RestBase = time.Second, 10*time.Millisecond
		c.RequestDeadline, c.Lease = time.Second, 2*time.Second
		c.Slack, c.QuietPeriod = 100*time.Millisecond, 100*time.Millisecond
	}
	s.start()
	fates := []struct {
		kind  journal.Kind
		value string
		want  string
	}{
		{journal.Activate, "rejected-1", "code_rejected request_new_code true"},
		{journal.Activate, "limited-1-1", "verified"},
		{journal.Activate, "error503-1-1", "verified"},
		{journal.Activate, "error503-after-1-1", "outcome_lost request_new_code false"},
		{journal.Activate, "lost-answer-1", "outcome_lost request_new_code false"},
		{journal.Activate, "error500-1", "verified"},
		{journal.Activate, "error500-0-1", "outcome_unknown contact_support false"},
		{journal.Activate, "half-body-1", "answer_unreadable contact_support false"},
		{journal.Activate, "broken-json-1", "answer_unreadable contact_support false"},
		{journal.Activate, "pending-token-1-1", "verified"},
		{journal.Activate, "no-token-1", "answer_unreadable contact_support false"},
		{journal.Activate, "bad-token-1", "credentials_invalid contact_support false"},
		{journal.Activate, "more-members-1", "verified"},
		{journal.Activate, "same-merchant-1", "verified"},
		{journal.Activate, "same-merchant-2", "merchant_conflict contact_support false"},
		{journal.Activate, "partner-field-1", "request_rejected contact_support false"},
		{journal.Invite, "rejected-1@example.com", "address_rejected contact_support true"},
		{journal.Invite, "conflict-1@example.com", "already_invited"},
		{journal.Invite, "broken-json-1@example.com", "sent"},
		{journal.Invite, "int-id-1@example.com", "sent"},
		{journal.Invite, "reset-1@example.com", "sent"},
		{journal.Invite, "reset-0-1@example.com", "outcome_unknown contact_support false"},
	}
	// One after the other, so that the breaker, which faults of many shops close,
	// stays out of it.
	for i, f := range fates {
		s.ingest(s.event(f.kind, fmt.Sprint("shop-", i), fmt.Sprint("e", i), f.value))
		s.settle(20 * time.Second)
	}
	other := s.event(journal.Activate, "another-shop", "again", "limited-1-1")
	s.ingest(other)
	again := s.event(journal.Activate, "shop-1", "same-code", "limited-1-1")
	s.ingest(again)
	s.settle(5 * time.Second)
	got := map[string][]string{}
	for _, e := range s.publishedOnce() {
		text := ""
		switch d := e.Data.(type) {
		case schemas.Invited:
			text = string(d.Outcome)
		case schemas.Activated:
			text = string(d.Verification)
		case schemas.ActivationFailed:
			text = fmt.Sprint(d.Reason, " ", d.Action, " ", d.Final)
		case schemas.InvitationFailed:
			text = fmt.Sprint(d.Reason, " ", d.Action, " ", d.Final)
		}
		got[e.Subject] = append(got[e.Subject], text)
	}
	for i, f := range fates {
		want := []string{f.want}
		if f.value == "limited-1-1" {
			want = []string{f.want, f.want} // published again for the same code
		}
		if fmt.Sprint(got[fmt.Sprint("shop-", i)]) != fmt.Sprint(want) {
			t.Errorf("%s: events %q, want %q", f.value, got[fmt.Sprint("shop-", i)], want)
		}
	}
	if fmt.Sprint(got["another-shop"]) != "[code_of_other_shop request_new_code true]" {
		t.Errorf("another shop's code: %q", got["another-shop"])
	}
	s.finish()
}

// publishedOnce is published without its check that no event is there twice.
func (s *service) publishedOnce() (out []schemas.Event) {
	s.Helper()
	rows, err := s.j.Pending(s.Context(), 0, 1000, 1<<20)
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range rows {
		e, err := schemas.DecodeOutput(r.Message)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := uuid.Parse(e.ID); err != nil {
			s.Errorf("%s: id %q", e.Type, e.ID)
		}
		out = append(out, e)
	}
	return out
}

// sameFile takes a copy of the journal for the file that a crash left.
func sameFile(string) string { return "the file" }
