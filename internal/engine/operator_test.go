package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// act asks for something about an operation and waits for its end.
func (h *harness) act(op *operation, c onboarding.Action, want onboarding.Result) journal.Intent {
	h.t.Helper()
	return h.ended(h.j.ask(h.keys, journal.Intent{Act: string(c), Operation: op.UUID}, ""), want)
}

// enters asks that merchant id and token be taken by hand.
func (h *harness) enters(op *operation, merchant, token string) *journal.Intent {
	return h.j.ask(h.keys, journal.Intent{Act: string(onboarding.ActionSetCredentials), Operation: op.UUID, MerchantID: merchant}, token)
}

func (h *harness) ended(i *journal.Intent, want onboarding.Result) journal.Intent {
	h.t.Helper()
	h.until(10*time.Minute, "ended: "+i.Act, func() bool { return h.j.intent(i).State != journal.IntentWaiting })
	got := h.j.intent(i)
	row := onboarding.ResultOf(onboarding.Result(got.Result))
	if got.Result != string(want) || got.State != row.State || !strings.HasPrefix(got.Detail, row.Text) || got.Sealed != nil {
		h.t.Errorf("%s: %v, %s (%s), want %s", i.Act, got.State, got.Result, got.Detail, want)
	}
	return got
}

func (h *harness) attention(op *operation) {
	h.t.Helper()
	h.until(time.Hour, "in attention", func() bool { s, _ := h.j.state(op); return s == journal.Attention })
}

const (
	eventUnknown  = "activation_failed outcome_unknown contact_support false"
	eventLost     = "activation_failed outcome_lost request_new_code false"
	eventRejected = "activation_failed request_rejected contact_support false"
	eventClosed   = "activation_failed closed contact_support true"
	eventActive   = "activated verified"
)

// What a person's probe or retry brings: a new run, with events of its own.
func TestOperator_PersonStartsAgain(t *testing.T) {
	for name, c := range map[string]struct {
		kind    journal.Kind
		answers []answer
		hold    bool
		act     onboarding.Action
		state   journal.State
		reason  onboarding.Reason
		events  []string
		calls   int
		probes  int
	}{
		"a probe that works":            {journal.Activate, []answer{lost, lost}, false, onboarding.ActionProbe, journal.Done, onboarding.ReasonActivated, []string{eventUnknown, eventActive}, 3, 2},
		"a probe that is refused":       {journal.Activate, []answer{lost, lost, refusal(422)}, false, onboarding.ActionProbe, journal.Attention, onboarding.ReasonOutcomeLost, []string{eventUnknown, eventLost}, 3, 2},
		"a probe that is unknown again": {journal.Activate, []answer{lost, lost, lost}, false, onboarding.ActionProbe, journal.Attention, onboarding.ReasonOutcomeUnknown, []string{eventUnknown, eventUnknown}, 3, 2},
		"a probe of what was held":      {journal.Activate, []answer{lost, lost}, true, onboarding.ActionProbe, journal.Attention, onboarding.ReasonOutcomeUnknown, []string{eventUnknown, eventUnknown}, 2, 1},
		"a probe that is put off":       {journal.Activate, []answer{lost, busy}, true, onboarding.ActionProbe, journal.Done, onboarding.ReasonActivated, []string{eventUnknown, eventActive}, 3, 2},
		"a retry":                       {journal.Activate, []answer{refusal(403)}, false, onboarding.ActionRetry, journal.Done, onboarding.ReasonActivated, []string{eventRejected, eventActive}, 2, 0},
		"a retry, refused again":        {journal.Activate, []answer{refusal(403), refusal(403)}, false, onboarding.ActionRetry, journal.Attention, onboarding.ReasonRequestRejected, []string{eventRejected, eventRejected}, 2, 0},
		"a retry, refused":              {journal.Activate, []answer{refusal(403), refusal(422)}, false, onboarding.ActionRetry, journal.Done, onboarding.ReasonRefusedCode, []string{eventRejected, "activation_failed code_rejected request_new_code true"}, 2, 0},
		"a probe after a fault":         {journal.Activate, []answer{busy, refusal(403)}, false, onboarding.ActionProbe, journal.Done, onboarding.ReasonActivated, []string{eventRejected, eventActive}, 3, 1},
		"an invitation once more":       {journal.Invite, []answer{lost, lost}, false, onboarding.ActionProbe, journal.Done, onboarding.ReasonSent, []string{"invitation_failed outcome_unknown contact_support false", "invited sent"}, 3, 2},
		"an invitation retried":         {journal.Invite, []answer{refusal(403)}, false, onboarding.ActionRetry, journal.Done, onboarding.ReasonSent, []string{"invitation_failed request_rejected contact_support false", "invited sent"}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				value := "value@example.com"
				b := newHarness(t, answers(map[string][]answer{value: c.answers}))
				if c.hold {
					b.cfg.UnknownOutcome = onboarding.Hold
				}
				op := b.add(c.kind, "shop-1", value)
				b.start()
				b.attention(op)
				b.act(op, c.act, onboarding.ResultPlanned)
				b.until(time.Hour, "settled", b.j.settled)
				b.finish()
				b.expect(op, c.state, c.reason, c.events...)
				if b.j.record(op).Run != 2 || b.j.probes(op) != c.probes {
					t.Errorf("run %d, %d probes", b.j.record(op).Run, b.j.probes(op))
				}
				if n := len(b.api.asked(invoicebox.Activate)) + len(b.api.asked(invoicebox.Invite)); n != c.calls {
					t.Errorf("%d requests, want %d", n, c.calls)
				}
				ids := map[string]bool{}
				for _, e := range b.j.eventsOf(op) {
					ids[e.Event.String()] = true
				}
				if len(ids) != len(c.events) {
					t.Errorf("%d ids for %d events", len(ids), len(c.events))
				}
			})
		})
	}
}

// A stored token that was refused is checked again, not fetched again.
func TestOperator_RetryChecksAStoredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		bad.Store(true)
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			if op == invoicebox.Check && bad.Load() {
				return answer{status: 401}
			}
			return good(op, value, n)
		})
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.attention(op)
		b.act(op, onboarding.ActionRetry, onboarding.ResultChecking)
		began := time.Now()
		b.until(time.Minute, "checked again", func() bool { s, _ := b.j.state(op); return s == journal.Stored })
		b.attention(op)
		if took := time.Since(began); took < DefaultVerifyFor {
			t.Errorf("the second verification took %v", took)
		}
		bad.Store(false)
		b.act(op, onboarding.ActionRetry, onboarding.ResultChecking)
		b.until(time.Hour, "settled", b.j.settled)
		b.finish()
		invalid := "activation_failed credentials_invalid contact_support false"
		b.expect(op, journal.Done, onboarding.ReasonActivated, invalid, invalid, eventActive)
		if n := len(b.api.asked(invoicebox.Activate)); n != 1 || len(b.j.credentials(op.Shop)) != 1 {
			t.Errorf("%d requests, %d credentials", n, len(b.j.credentials(op.Shop)))
		}
	})
}

// How each attention ends when a person closes it.
func TestOperator_PersonCloses(t *testing.T) {
	for name, c := range map[string]struct {
		answers []answer
		late    string
		reason  onboarding.Reason
		doubt   bool
		events  []string
	}{
		"unknown":    {[]answer{lost, lost}, "", onboarding.ReasonClosed, true, []string{eventUnknown, eventClosed}},
		"lost":       {[]answer{lost, refusal(422)}, "", onboarding.ReasonClosed, true, []string{eventLost, eventClosed}},
		"rejected":   {[]answer{refusal(403)}, "", onboarding.ReasonClosed, false, []string{eventRejected, eventClosed}},
		"unreadable": {[]answer{{status: 200, body: "{}"}}, "", onboarding.ReasonClosed, true, []string{"activation_failed answer_unreadable contact_support false", eventClosed}},
		"another token": {[]answer{lost}, body("code-1", "other"), onboarding.ReasonKeptToken, true,
			[]string{eventActive, "activation_failed second_token contact_support false", eventActive}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, answers(map[string][]answer{"code-1": c.answers}))
				op := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				if c.late != "" {
					b.until(time.Hour, "done", func() bool { s, _ := b.j.state(op); return s == journal.Done })
					b.late(op, c.late)
				}
				b.attention(op)
				calls := len(b.api.asked(invoicebox.Activate))
				b.act(op, onboarding.ActionClose, onboarding.ResultClosed)
				b.act(op, onboarding.ActionClose, onboarding.ResultMovedOn)
				b.finish()
				b.expect(op, journal.Done, c.reason, c.events...)
				if b.j.record(op).Doubt != c.doubt || len(b.api.asked(invoicebox.Activate)) != calls || b.j.record(op).Run != 1 {
					t.Errorf("doubt %v, run %d", b.j.record(op).Doubt, b.j.record(op).Run)
				}
				ids := map[string]bool{}
				for _, e := range b.j.eventsOf(op) {
					ids[e.Event.String()] = true
				}
				if len(ids) != len(c.events) {
					t.Errorf("%d ids for %d events", len(ids), len(c.events))
				}
				if notes := fmt.Sprint(b.j.notes()); !strings.Contains(notes, "anna close.performed closed") || !strings.Contains(notes, "anna close.refused moved_on") {
					t.Errorf("the audit is %s", notes)
				}
			})
		})
	}
}

// Whatever is not safe is refused, and changes nothing.
func TestOperator_WhatIsNotSafeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {lost, refusal(422)}, "a@example.com": {refusal(403)}}))
		op, invitation := b.add(journal.Activate, "shop-1", "code-1"), b.add(journal.Invite, "shop-2", "a@example.com")
		b.j.account("other")
		unconfigured := b.addOf("other", journal.Activate, "shop-3", "code-3")
		b.start()
		b.attention(op)
		b.act(op, onboarding.ActionProbe, onboarding.ResultNotSafe)
		b.act(op, onboarding.ActionRetry, onboarding.ResultNotSafe)
		b.act(op, "burn", onboarding.ResultUnknownAct)
		b.ended(b.enters(invitation, "m-1", "token-1"), onboarding.ResultNotSafe)
		b.ended(b.j.ask(b.keys, journal.Intent{Act: "close", Account: "other", Operation: unconfigured.UUID}, ""), onboarding.ResultNotConfigured)
		b.ended(b.j.ask(b.keys, journal.Intent{Act: "close", Account: "default"}, ""), onboarding.ResultUnknownAct)
		b.finish()
		b.expect(op, journal.Attention, onboarding.ReasonOutcomeLost, eventLost)
		b.expect(invitation, journal.Attention, onboarding.ReasonRequestRejected, "invitation_failed request_rejected contact_support false")
	})
}

// An intent that races with something that happens to its operation is looked
// at again, and refused with where the operation is.
func TestOperator_IntentThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {lost, refusal(422)}}))
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.attention(op)
		raced := false
		b.j.failing(func(step string, done bool) error {
			if step == "Apply" && !done && !raced && b.j.record(op).State == journal.Attention {
				raced = true // between the look and the commit
				b.late(op, body("1", "1"))
			}
			return nil
		})
		got := b.act(op, onboarding.ActionClose, onboarding.ResultMovedOn)
		if !raced || !strings.Contains(got.Detail, "it is ") {
			t.Errorf("raced %v: %s", raced, got.Detail)
		}
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventLost, eventActive)
	})
}

// Errors of the journal, before a write and after it, make nothing happen twice.
func TestOperator_IntentsOverAFailingJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {refusal(403)}, "code-2": {lost, refusal(422)}}))
		op, entered := b.add(journal.Activate, "shop-1", "code-1"), b.add(journal.Activate, "shop-2", "code-2")
		b.start()
		b.attention(op)
		b.attention(entered)
		failed := map[string]int{}
		b.j.failing(func(step string, done bool) error {
			key := fmt.Sprint(step, done)
			if failed[key] < 3 {
				failed[key]++
				return errors.New("the disk is full")
			}
			return nil
		})
		pause := b.j.ask(b.keys, journal.Intent{Act: "pause"}, "")
		resume := b.j.ask(b.keys, journal.Intent{Act: "resume"}, "")
		closing := b.j.ask(b.keys, journal.Intent{Act: "close", Operation: op.UUID}, "")
		again := b.j.ask(b.keys, journal.Intent{Act: "close", Operation: op.UUID}, "")
		enter := b.enters(entered, "m-2", "token-2")
		b.ended(closing, onboarding.ResultClosed)
		b.ended(again, onboarding.ResultMovedOn)
		b.ended(enter, onboarding.ResultActivated)
		for _, i := range []*journal.Intent{pause, resume} {
			b.until(time.Minute, "ended", func() bool { return b.j.intent(i).State == journal.IntentPerformed })
		}
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonClosed, eventRejected, eventClosed)
		b.expect(entered, journal.Done, onboarding.ReasonActivated, eventLost, eventActive)
		if len(b.j.notes()) != 5 {
			t.Errorf("the audit has %q", b.j.notes())
		}
	})
}

// A person pauses an account and lets it go on.
func TestOperator_PersonPausesAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.start()
		circuitIs := func(s journal.CircuitState, r onboarding.Reason) {
			t.Helper()
			b.until(time.Minute, "the circuit breaker is "+string(s), func() bool {
				g := b.j.circuit()
				return g.State == s && g.Reason == string(r)
			})
		}
		ask := func(c onboarding.Action, want onboarding.Result) {
			t.Helper()
			b.ended(b.j.ask(b.keys, journal.Intent{Act: string(c)}, ""), want)
		}
		ask(onboarding.ActionResume, onboarding.ResultNotPaused)
		ask(onboarding.ActionPause, onboarding.ResultPaused)
		circuitIs(journal.CircuitPaused, onboarding.ReasonOperator)
		var ops []*operation
		for i := range 5 {
			ops = append(ops, b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i)))
		}
		time.Sleep(time.Hour)
		if n := len(b.api.calls); n != 0 {
			t.Errorf("%d calls of a paused account", n)
		}
		ask(onboarding.ActionPause, onboarding.ResultPaused)
		// It stays paused over a restart.
		b.finish()
		b.start()
		time.Sleep(time.Hour)
		if n := len(b.api.calls); n != 0 {
			t.Errorf("%d calls after a restart", n)
		}
		ask(onboarding.ActionResume, onboarding.ResultResumed)
		circuitIs(journal.CircuitActive, "")
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		for _, op := range ops {
			b.expect(op, journal.Done, onboarding.ReasonActivated, eventActive)
		}
	})
}

// An account that was paused for its rights goes on when a person says so, or
// when its settings change; for its token it goes on by itself.
func TestOperator_ExitsOfAPause(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		exit   func(*harness)
	}{
		"rights, by a person": {403, func(b *harness) {
			b.ended(b.j.ask(b.keys, journal.Intent{Act: "resume"}, ""), onboarding.ResultResumed)
		}},
		"rights, by settings": {403, func(b *harness) { b.engine.TokenChanged("default") }},
		"token, by its file":  {401, func(b *harness) { b.engine.TokenChanged("default") }},
		"token, by a resume": {401, func(b *harness) {
			b.ended(b.j.ask(b.keys, journal.Intent{Act: "resume"}, ""), onboarding.ResultTokenWorks)
		}},
		"token, by a check": {401, func(b *harness) {
			b.ended(b.j.ask(b.keys, journal.Intent{Act: "check"}, ""), onboarding.ResultTokenWorks)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bad atomic.Bool
				bad.Store(true)
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if bad.Load() && op != invoicebox.Check {
						return refusal(c.status)
					}
					return good(op, value, n)
				})
				for i := range breaker.FaultsToPause {
					b.add(journal.Activate, fmt.Sprint("early-", i), fmt.Sprint("early-", i))
				}
				b.start()
				b.until(time.Minute, "paused", func() bool {
					return b.j.circuit().State == journal.CircuitPaused
				})
				op := b.add(journal.Activate, "shop-1", "code-1")
				bad.Store(false)
				c.exit(b)
				b.until(time.Minute, "settled", func() bool { s, _ := b.j.state(op); return s == journal.Done })
				b.finish()
				b.expect(op, journal.Done, onboarding.ReasonActivated, eventActive)
			})
		})
	}
}

// What a person starts again goes behind what the shop entered before.
func TestOperator_RetryWaitsForTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {refusal(403)}, "code-2": {{status: 425}, {status: 425}}}))
		first := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.attention(first)
		b.add(journal.Activate, "shop-1", "code-2")
		b.add(journal.Activate, "shop-1", "code-3")
		b.act(first, onboarding.ActionRetry, onboarding.ResultPlanned)
		b.until(time.Hour, "settled", b.j.settled)
		b.finish()
		var order []string
		for _, c := range b.api.asked(invoicebox.Activate) {
			order = append(order, c.value)
		}
		if got := fmt.Sprint(order); got != "[code-1 code-2 code-2 code-2 code-3 code-1]" {
			t.Errorf("asked in the order %s", got)
		}
	})
}

// An older activation that a person closes does not take an active shop back.
func TestOperator_ClosingAnOlderActivationOfAnActiveShop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {{status: 200, body: "{}"}}}))
		older := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.attention(older)
		newer := b.add(journal.Activate, "shop-1", "code-2")
		b.until(time.Hour, "active", func() bool { return b.j.shop(newer.Shop).Active != nil })
		b.act(older, onboarding.ActionClose, onboarding.ResultClosed)
		b.finish()
		b.expect(older, journal.Done, onboarding.ReasonClosed, "activation_failed answer_unreadable contact_support false", eventActive)
		b.expect(newer, journal.Done, onboarding.ReasonActivated, eventActive)
	})
}
