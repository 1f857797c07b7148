package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

func TestMain(m *testing.M) {
	cleanenv.Use()
	goleak.VerifyTestMain(m)
}

// A harness is a engine over a journal that can fail and a scripted API, in virtual time.
type harness struct {
	t      *testing.T
	keys   *keyset.Set
	j      *testJournal
	api    *fakeClient
	cfg    Config
	engine *Engine
	log    bytes.Buffer
	stop   context.CancelFunc
	result chan error
}

func newHarness(t *testing.T, s script) *harness {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	b := &harness{t: t, keys: keys, j: newTestJournal(t, keys), api: &fakeClient{script: s, latency: 50 * time.Millisecond}}
	b.cfg = Config{
		Journal: b.j, Keys: keys, Credentials: credentials.NewSealed(keys),
		Accounts: []Account{{Name: "default", Client: b.api}},
		Logger:   slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return b
}

func (h *harness) start() {
	h.t.Helper()
	p, err := New(h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	h.engine, h.stop, h.result = p, cancel, make(chan error, 1)
	go func() { h.result <- p.Run(ctx) }()
}

func (h *harness) finish() {
	h.t.Helper()
	h.stop()
	if err := <-h.result; err != nil {
		h.t.Errorf("Run: %v", err)
	}
}

// add plans an operation of the default account.
func (h *harness) add(kind journal.Kind, shop, value string) *operation {
	h.t.Helper()
	return h.addOf("default", kind, shop, value)
}

func (h *harness) addOf(account string, kind journal.Kind, shop, value string) *operation {
	h.t.Helper()
	return h.j.add(input{kind, account, shop, value})[0]
}

// until runs the virtual clock until cond holds, for at most limit.
func (h *harness) until(limit time.Duration, what string, cond func() bool) {
	h.t.Helper()
	for began := time.Now(); ; {
		synctest.Wait()
		if cond() {
			return
		}
		passed := time.Since(began)
		if passed > limit {
			h.t.Fatalf("after %v: not %s\n%s\n%s", limit, what, strings.Join(h.j.transitions(), "\n"), h.log.String())
		}
		step := 10 * time.Millisecond
		if passed > 10*time.Minute { // hours need no more looks than minutes; the journal stores microseconds
			step = (passed / 1000).Truncate(time.Millisecond)
		}
		time.Sleep(step)
	}
}

func (h *harness) expect(op *operation, state journal.State, reason onboarding.Reason, events ...string) {
	h.t.Helper()
	if s, r := h.j.state(op); s != state || r != reason {
		h.t.Errorf("operation %d is %v (%s), want %v (%s)", op.id, s, r, state, reason)
	}
	var got []string
	for _, e := range h.j.eventsOf(op) {
		text := e.Type
		switch d := decoded(h.t, e).(type) {
		case schemas.Invited:
			text += " " + string(d.Outcome)
		case schemas.InvitationFailed:
			text += fmt.Sprintf(" %s %s %v", d.Reason, d.Action, d.Final)
		case schemas.Activated:
			text += " " + string(d.Verification)
		case schemas.Disconnected:
		case schemas.ActivationFailed:
			text += fmt.Sprintf(" %s %s %v", d.Reason, d.Action, d.Final)
		}
		got = append(got, strings.TrimPrefix(text, "shop.invoicebox_"))
	}
	if fmt.Sprint(got) != fmt.Sprint(events) {
		h.t.Errorf("operation %d: events %q, want %q", op.id, got, events)
	}
}

func decoded(t *testing.T, e journal.OutboxRow) any {
	t.Helper()
	out, err := schemas.DecodeOutput(e.Message)
	if err != nil {
		t.Fatal(err)
	}
	return out.Data
}

// run starts the engine, waits until all is settled, stops it.
func (h *harness) run(limit time.Duration) {
	h.t.Helper()
	h.start()
	h.until(limit, "settled", h.j.settled)
	h.finish()
}

func TestEngine_InvitationAndActivation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		invite := b.add(journal.Invite, "shop-1", "someone@example.com")
		activate := b.add(journal.Activate, "shop-1", "code-1")
		b.run(5 * time.Second)
		b.expect(invite, journal.Done, onboarding.ReasonSent, "invited sent")
		b.expect(activate, journal.Done, onboarding.ReasonActivated, "activated verified")
		calls := b.api.calls
		if len(calls) != 3 || calls[0].value != "someone@example.com" || calls[1].value != "code-1" || calls[2].value != "token-code-1" {
			t.Errorf("calls %+v", calls)
		}
		if !calls[1].at.After(calls[0].end) && calls[1].at != calls[0].end {
			t.Error("the shop's activation began before its invitation ended")
		}
		act := decoded(t, b.j.eventsOf(activate)[0]).(schemas.Activated)
		ref, err := schemas.ParseReference(act.Credentials.Ref)
		if err != nil || ref.Version != 1 || ref.Shop != "shop-1" || act.MerchantID != "m-code-1" {
			t.Errorf("reference %q, merchant %q, error %v", act.Credentials.Ref, act.MerchantID, err)
		}
		s, err := credentials.NewSealed(b.keys).Open(b.j.credentials(activate.Shop)[0])
		if err != nil || s.Token.Reveal() != "token-code-1" {
			t.Errorf("the stored secret does not open: %v", err)
		}
		for _, word := range []string{"token-code-1", "someone@example.com", "code-1"} {
			if strings.Contains(b.log.String(), word) {
				t.Errorf("the log gives %q away", word)
			}
		}
	})
}

// What is new is started at once, and nothing polls meanwhile.
func TestEngine_IdleEngineNoticesWorkAtOnceAndSleepsOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.api.latency = 0
		b.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		if perHour := int(time.Hour / breakerRefresh); b.j.dueCalls() > perHour+130 {
			t.Errorf("%d looks for work in an idle hour", b.j.dueCalls())
		}
		op := b.add(journal.Invite, "shop-1", "a@example.com")
		synctest.Wait() // no time passes
		b.expect(op, journal.Done, onboarding.ReasonSent, "invited sent")
		b.finish()
	})
}

func TestEngine_AnswersLeadWhereTheTableSays(t *testing.T) {
	limited := answer{status: 429, header: http429("7")}
	for name, c := range map[string]struct {
		kind   journal.Kind
		script script
		within time.Duration
		state  journal.State
		reason onboarding.Reason
		events []string
		calls  int
	}{
		"invite refused": {journal.Invite, always(refusal(422)), time.Second, journal.Done, onboarding.ReasonRefusedAddress,
			[]string{"invitation_failed address_rejected contact_support true"}, 1},
		"invite 409": {journal.Invite, always(refusal(409)), time.Second, journal.Done, onboarding.ReasonAlreadyInvited, []string{"invited already_invited"}, 1},
		"invite unreadable": {journal.Invite, always(answer{status: 200, body: "<html>"}), time.Second, journal.Done, onboarding.ReasonSent,
			[]string{"invited sent"}, 1},
		"invite unknown": {journal.Invite, always(answer{fail: invoicebox.ReasonReset}), 8 * time.Minute, journal.Attention, onboarding.ReasonOutcomeUnknown,
			[]string{"invitation_failed outcome_unknown contact_support false"}, 2},
		"invite 403": {journal.Invite, always(refusal(403)), time.Second, journal.Attention, onboarding.ReasonRequestRejected,
			[]string{"invitation_failed request_rejected contact_support false"}, 1},
		"code refused": {journal.Activate, always(refusal(422)), time.Second, journal.Done, onboarding.ReasonRefusedCode,
			[]string{"activation_failed code_rejected request_new_code true"}, 1},
		"code refused after doubt": {journal.Activate, steps(answer{status: 503}, refusal(422)), time.Minute, journal.Attention, onboarding.ReasonOutcomeLost,
			[]string{"activation_failed outcome_lost request_new_code false"}, 2},
		"activation unknown": {journal.Activate, always(answer{status: 500}), 8 * time.Minute, journal.Attention, onboarding.ReasonOutcomeUnknown,
			[]string{"activation_failed outcome_unknown contact_support false"}, 2},
		"activation unreadable": {journal.Activate, always(answer{status: 200, body: `{"data":{}}`}), time.Second, journal.Attention, onboarding.ReasonAnswerUnreadable,
			[]string{"activation_failed answer_unreadable contact_support false"}, 1},
		"activation cut": {journal.Activate, always(answer{status: 200, body: `{"data":{"merchantId":"m`, cut: true}), time.Second, journal.Attention, onboarding.ReasonAnswerUnreadable,
			[]string{"activation_failed answer_unreadable contact_support false"}, 1},
		"activation limited, then good": {journal.Activate, steps(limited), 30 * time.Second, journal.Done, onboarding.ReasonActivated, []string{"activated verified"}, 2},
		"activation unreachable, then good": {journal.Activate, steps(answer{fail: invoicebox.ReasonConnect, unsent: true}), time.Minute, journal.Done, onboarding.ReasonActivated,
			[]string{"activated verified"}, 1},
		"invite 425, then good":           {journal.Invite, steps(answer{status: 425}), time.Minute, journal.Done, onboarding.ReasonSent, []string{"invited sent"}, 2},
		"merchant id too long to publish": {journal.Activate, always(answer{status: 200, body: `{"data":{"merchantId":"` + strings.Repeat("m", 40) + `","token":"tttt"}}`}), time.Second, journal.Attention, onboarding.ReasonAnswerUnreadable, []string{"activation_failed answer_unreadable contact_support false"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, c.script)
				op := b.add(c.kind, "shop-1", "value-1")
				b.run(c.within)
				b.expect(op, c.state, c.reason, c.events...)
				want := invoicebox.Invite
				if c.kind == journal.Activate {
					want = invoicebox.Activate
				}
				if n := len(b.api.asked(want)); n != c.calls {
					t.Errorf("%d calls, want %d", n, c.calls)
				}
			})
		})
	}
}

// always gives one answer to invitations and activations; checks are good.
func always(a answer) script {
	return func(op invoicebox.Operation, value string, n int) answer {
		if op == invoicebox.Invite || op == invoicebox.Activate {
			return a
		}
		return good(op, value, n)
	}
}

// steps gives the answers in turn, and then good ones.
func steps(list ...answer) script {
	next := 0
	return func(op invoicebox.Operation, value string, n int) answer {
		if (op == invoicebox.Invite || op == invoicebox.Activate) && next < len(list) {
			next++
			return list[next-1]
		}
		return good(op, value, n)
	}
}

func http429(retryAfter string) map[string][]string {
	return map[string][]string{"Retry-After": {retryAfter}}
}

func TestEngine_ConfigSaysWhatIsWrong(t *testing.T) {
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	base := func() Config {
		return Config{
			Journal: struct{ Journal }{}, Keys: keys, Credentials: credentials.NewSealed(keys),
			Accounts: []Account{{Name: "default", Client: &fakeClient{}}},
		}
	}
	if _, err := New(base()); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"journal":             func(c *Config) { c.Journal = nil },
		"keyset":              func(c *Config) { c.Keys = nil },
		"credential store":    func(c *Config) { c.Credentials = nil },
		"no account":          func(c *Config) { c.Accounts = nil },
		"twice":               func(c *Config) { c.Accounts = append(c.Accounts, c.Accounts[0]) },
		"has no client":       func(c *Config) { c.Accounts[0].Client = nil },
		"requests-per-window": func(c *Config) { c.Accounts[0].Requests = -1 },
		"window of account":   func(c *Config) { c.Accounts[0].Window = -1 },
		"egress-requests":     func(c *Config) { c.EgressRequests = -1 },
		"concurrency":         func(c *Config) { c.Concurrency = -1 },
		"request-deadline":    func(c *Config) { c.RequestDeadline = time.Minute; c.Lease = time.Minute },
		"lease":               func(c *Config) { c.Lease = -1 },
		"unknown-outcome":     func(c *Config) { c.UnknownOutcome = "probe" },
		"quiet-period":        func(c *Config) { c.QuietPeriod = time.Second; c.Slack = time.Minute },
		"maximum-age":         func(c *Config) { c.MaximumAge = -1 },
		"drain-time":          func(c *Config) { c.DrainTime = -1 },
		"longest wait":        func(c *Config) { c.WaitBase = time.Hour; c.WaitCap = time.Minute },
		"event-format":        func(c *Config) { c.Format = "xml" },
	} {
		c := base()
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not name it", want, err)
		}
	}
}

func TestEngine_RunReportsAClosedJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.j.failing(func(step string, done bool) error {
			if step == "ReleaseExpiredLeases" && !done {
				return journal.ErrClosed
			}
			return nil
		})
		b.start()
		if err := <-b.result; !errors.Is(err, journal.ErrClosed) {
			t.Errorf("Run: %v, want ErrClosed", err)
		}
		b.stop()
	})
}
