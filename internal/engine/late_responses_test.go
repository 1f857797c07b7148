package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// late delivers an answer to an operation's first request, as a worker does
// that has lost its lease long ago.
func (h *harness) late(op *operation, body string) {
	h.t.Helper()
	h.lateSealed(op, h.sealed(op, "attempt/0", body))
}

func (h *harness) lateSealed(op *operation, sealed []byte) {
	h.t.Helper()
	r := journal.Receipt{
		Ref: journal.ClaimRef{Operation: op.id}, Attempt: h.j.earlier(op), Sealed: sealed, SealedFor: "attempt/0", End: journal.AttemptEnd{Answered: true, At: time.Now()},
	}
	if _, mine, err := h.j.Journal.SaveResponse(context.Background(), r); err != nil || mine {
		h.t.Fatal(mine, err)
	}
	h.j.touch()
}

// sealed is a success of an operation's request, sealed for a request or an intent.
func (h *harness) sealed(op *operation, sealedFor, body string) []byte {
	h.t.Helper()
	x := invoicebox.Exchange{
		Operation: invoicebox.Activate, Status: 200, BodyComplete: true, Started: time.Now(), Finished: time.Now(), Body: []byte(body),
	}
	text, err := x.MarshalReceipt()
	if err != nil {
		h.t.Fatal(err)
	}
	sealed, err := h.keys.Seal(text, responseAssociatedData(op.Shop, op.UUID, sealedFor))
	if err != nil {
		h.t.Fatal(err)
	}
	return sealed
}

// received makes an operation that nobody has claimed so far one with a response.
func (h *harness) received(op *operation, sealedFor, body string) {
	h.t.Helper()
	h.j.put(op, journal.Received, func(t *journal.Transition) { t.Entered, t.EnteredFor = h.sealed(op, sealedFor, body), sealedFor })
}

func body(value, token string) string {
	return fmt.Sprintf(`{"data":{"merchantId":"m-%s","token":"token-%s"}}`, value, token)
}

// In whatever state an operation is, an answer to an earlier request is not lost.
func TestLateResponses_Compared(t *testing.T) {
	if testing.Short() {
		t.Skip("long in virtual time: the race detector has nothing to find, and takes minutes")
	}
	const (
		done      = "activated verified"
		unknown   = "activation_failed outcome_unknown contact_support false"
		lostEvent = "activation_failed outcome_lost request_new_code false"
		second    = "activation_failed second_token contact_support false"
	)
	inState := func(s journal.State) func(*harness, *operation) bool {
		return func(b *harness, op *operation) bool { got, _ := b.j.state(op); return got == s }
	}
	for name, c := range map[string]struct {
		answers []answer
		hold    bool
		closed  bool // the breaker closes after the first request
		when    func(*harness, *operation) bool
		body    string
		state   journal.State
		reason  onboarding.Reason
		events  []string
		calls   int
		note    string
	}{
		"in the quiet period":        {answers: []answer{lost}, when: inState(journal.Unknown), body: body("1", "1"), state: journal.Done, reason: onboarding.ReasonActivated, events: []string{done}, calls: 1},
		"while the probe waits":      {answers: []answer{lost}, closed: true, when: inState(journal.Planned), body: body("1", "1"), state: journal.Done, reason: onboarding.ReasonActivated, events: []string{done}, calls: 1},
		"while the probe is put off": {answers: []answer{lost, {status: 425}}, when: inState(journal.Waiting), body: body("1", "1"), state: journal.Done, reason: onboarding.ReasonActivated, events: []string{done}, calls: 2},
		"after attention, unknown":   {answers: []answer{lost}, hold: true, when: inState(journal.Attention), body: body("1", "1"), state: journal.Done, reason: onboarding.ReasonActivated, events: []string{unknown, done}, calls: 1},
		"after attention, lost":      {answers: []answer{lost, refusal(422)}, when: inState(journal.Attention), body: body("1", "1"), state: journal.Done, reason: onboarding.ReasonActivated, events: []string{lostEvent, done}, calls: 2},
		"after attention, unusable": {answers: []answer{lost, refusal(422)}, when: inState(journal.Attention), body: "{}", state: journal.Attention, reason: onboarding.ReasonAnswerUnreadable,
			events: []string{lostEvent, "activation_failed answer_unreadable contact_support false"}, calls: 2},
		"after the end, the same": {answers: []answer{lost}, when: inState(journal.Done), body: body("value-1", "value-1"), state: journal.Done, reason: onboarding.ReasonActivated,
			events: []string{done}, calls: 2, note: "a late answer with the token in use"},
		"after the end, another token": {answers: []answer{lost}, when: inState(journal.Done), body: body("value-1", "other"), state: journal.Attention, reason: onboarding.ReasonSecondToken,
			events: []string{done, second}, calls: 2, note: "a late answer with another token than the one in use"},
		"after the end, another merchant": {answers: []answer{lost}, when: inState(journal.Done), body: body("other", "value-1"), state: journal.Attention, reason: onboarding.ReasonSecondToken,
			events: []string{done, second}, calls: 2, note: "a late answer with another token than the one in use"},
		"after the end, nothing usable": {answers: []answer{lost}, when: inState(journal.Done), body: "<html>", state: journal.Done, reason: onboarding.ReasonActivated,
			events: []string{done}, calls: 2, note: "a late answer without a token"},
		"after an answer that nobody can read": {answers: []answer{{status: 200, body: "{}"}}, when: inState(journal.Attention), body: body("1", "1"),
			state: journal.Attention, reason: onboarding.ReasonSecondToken, events: []string{"activation_failed answer_unreadable contact_support false", second}, calls: 1,
			note: "a late answer with another token than the one in use"},
		// No token is known that it could be compared with.
		"after it was refused": {answers: []answer{refusal(422)}, when: inState(journal.Done), body: body("1", "1"),
			state: journal.Attention, reason: onboarding.ReasonSecondToken, events: []string{"activation_failed code_rejected request_new_code true", second}, calls: 1,
			note: "a late answer with another token than the one in use"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, answers(map[string][]answer{"value-1": c.answers}))
				if c.hold {
					b.cfg.UnknownOutcome = onboarding.Hold
				}
				op := b.add(journal.Activate, "shop-1", "value-1")
				b.start()
				if c.closed {
					b.until(time.Second, "unknown", func() bool { return inState(journal.Unknown)(b, op) })
					b.j.setCircuit("default", journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonRights)})
				}
				b.until(time.Hour, "where the answer comes", func() bool { return c.when(b, op) })
				b.late(op, c.body)
				b.until(time.Hour, "settled", func() bool { return b.j.settled() && b.j.compared(op) })
				b.finish()
				b.expect(op, c.state, c.reason, c.events...)
				if n := len(b.api.asked(invoicebox.Activate)); n != c.calls {
					t.Errorf("%d requests, want %d", n, c.calls)
				}
				ids := map[string]bool{}
				for _, e := range b.j.eventsOf(op) {
					ids[e.Event.String()] = true
				}
				if len(ids) != len(c.events) {
					t.Errorf("%d ids for %d events", len(ids), len(c.events))
				}
				want := []string{}
				if c.note != "" {
					want = append(want, c.note)
				}
				if fmt.Sprint(b.j.notes()) != fmt.Sprint(want) {
					t.Errorf("notes %q, want %q", b.j.notes(), want)
				}
			})
		})
	}
}

// An operation that gave way to a newer code holds no token of its own.
func TestLateResponses_OfASupersededCode(t *testing.T) {
	for token, state := range map[string]journal.State{"code-2": journal.Superseded, "code-1": journal.Attention} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, answers(map[string][]answer{"code-1": {lost}}))
			first := b.add(journal.Activate, "shop-1", "code-1")
			second := b.add(journal.Activate, "shop-1", "code-2")
			b.start()
			b.until(time.Hour, "settled", b.j.settled)
			b.expect(first, journal.Superseded, onboarding.ReasonNewerCode)
			b.late(first, body("code-2", token))
			b.until(time.Minute, "compared", func() bool { return b.j.compared(first) })
			b.finish()
			if s, _ := b.j.state(first); s != state || (s == journal.Superseded) == (b.j.column(first, "verified") == 0) {
				t.Errorf("%s: %v, verified %v", token, s, b.j.column(first, "verified"))
			}
			b.expect(second, journal.Done, onboarding.ReasonActivated, "activated verified")
		})
	}
}

// What cannot be read is not taken for nothing.
func TestLateResponses_ThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		sealed := b.sealed(op, "attempt/0", body("code-1", "code-1"))
		sealed[len(sealed)-1]++
		b.lateSealed(op, sealed)
		b.until(time.Minute, "compared", func() bool { return b.j.compared(op) })
		b.finish()
		b.expect(op, journal.Attention, onboarding.ReasonSecondToken, "activated verified", "activation_failed second_token contact_support false")
	})
}

// Receipts are erased some day; what they brought is in the credential store.
func TestLateResponses_AfterTheReceiptsAreGone(t *testing.T) {
	for token, state := range map[string]journal.State{"value-1": journal.Done, "other": journal.Attention} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, good)
			store := &moodyStore{Store: b.cfg.Credentials}
			b.cfg.Credentials = store
			op := b.add(journal.Activate, "shop-1", "value-1")
			b.start()
			b.until(time.Minute, "settled", b.j.settled)
			b.j.exec("UPDATE attempt SET answer = NULL WHERE operation = ?", op.id)
			store.gone.Store(true)
			b.late(op, body("value-1", token))
			time.Sleep(10 * time.Minute)
			if b.j.compared(op) {
				t.Error("compared with nothing")
			}
			store.gone.Store(false)
			b.until(time.Hour, "compared", func() bool { return b.j.compared(op) })
			b.finish()
			if s, _ := b.j.state(op); s != state {
				t.Errorf("%s: %v, want %v", token, s, state)
			}
		})
	}
}

// A moodyStore cannot be reached at times.
type moodyStore struct {
	Store
	gone atomic.Bool
}

func (m *moodyStore) Read(ctx context.Context, c journal.Credential) (credentials.Secret, error) {
	if m.gone.Load() {
		return credentials.Secret{}, errors.New("not reachable")
	}
	return m.Store.Read(ctx, c)
}
