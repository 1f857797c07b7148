package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

var (
	lost    = answer{fail: invoicebox.ReasonLost}
	busy    = answer{status: 503}
	quietly = DefaultLease + DefaultQuietPeriod // after the claim of an unknown attempt
)

// answers gives each value its answers in turn, and then good ones.
func answers(lists map[string][]answer) script {
	asked := map[string]int{}
	return func(op invoicebox.Operation, value string, n int) answer {
		if list := lists[value]; asked[value] < len(list) {
			asked[value]++
			return list[asked[value]-1]
		}
		return good(op, value, n)
	}
}

// What the one probe brings, and that it comes late enough.
func TestUnknownOutcome_Probe(t *testing.T) {
	unknownEvent := "activation_failed outcome_unknown contact_support false"
	for name, c := range map[string]struct {
		second []answer // after the first, which is lost
		state  journal.State
		reason onboarding.Reason
		event  string
		calls  int // requests that left, of two or more
		more   time.Duration
	}{
		"good":       {nil, journal.Done, onboarding.ReasonActivated, "activated verified", 2, 0},
		"refused":    {[]answer{refusal(422)}, journal.Attention, onboarding.ReasonOutcomeLost, "activation_failed outcome_lost request_new_code false", 2, 0},
		"lost again": {[]answer{lost}, journal.Attention, onboarding.ReasonOutcomeUnknown, unknownEvent, 2, quietly},
		"500":        {[]answer{{status: 500}}, journal.Attention, onboarding.ReasonOutcomeUnknown, unknownEvent, 2, quietly},
		"403":        {[]answer{refusal(403)}, journal.Attention, onboarding.ReasonRequestRejected, "activation_failed request_rejected contact_support false", 2, 0},
		"unreadable": {[]answer{{status: 200, body: "{}"}}, journal.Attention, onboarding.ReasonAnswerUnreadable, "activation_failed answer_unreadable contact_support false", 2, 0},
		// Not used up: it waits, and is made later.
		"unreachable, then good": {[]answer{{fail: invoicebox.ReasonConnect, unsent: true}}, journal.Done, onboarding.ReasonActivated, "activated verified", 2, time.Minute},
		"503, then good":         {[]answer{busy}, journal.Done, onboarding.ReasonActivated, "activated verified", 3, time.Minute},
		"408, 503, then good":    {[]answer{{status: 408}, busy}, journal.Done, onboarding.ReasonActivated, "activated verified", 4, time.Minute},
		"503, then refused": {[]answer{busy, refusal(422)}, journal.Attention, onboarding.ReasonOutcomeLost,
			"activation_failed outcome_lost request_new_code false", 3, time.Minute},
		"503, then lost": {[]answer{busy, lost}, journal.Attention, onboarding.ReasonOutcomeUnknown, unknownEvent, 3, time.Minute + quietly},
		"425, then good": {[]answer{{status: 425}}, journal.Done, onboarding.ReasonActivated, "activated verified", 3, time.Minute},
		"429, then refused": {[]answer{{status: 429, header: http429("5")}, refusal(404)}, journal.Attention, onboarding.ReasonOutcomeLost,
			"activation_failed outcome_lost request_new_code false", 3, time.Minute},
		"401, then lost": {[]answer{{status: 401}, lost}, journal.Attention, onboarding.ReasonOutcomeUnknown, unknownEvent, 3, time.Minute + quietly},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, answers(map[string][]answer{"code-1": append([]answer{lost}, c.second...)}))
				began := time.Now()
				op := b.add(journal.Activate, "shop-1", "code-1")
				next := b.add(journal.Activate, "shop-2", "code-2")
				b.start()
				b.until(time.Second, "unknown", func() bool { s, _ := b.j.state(op); return s == journal.Unknown })
				b.expect(op, journal.Unknown, onboarding.ReasonNoProof)
				b.until(quietly+c.more+5*time.Second, "settled", b.j.settled)
				b.finish()
				b.expect(op, c.state, c.reason, c.event)
				b.expect(next, journal.Done, onboarding.ReasonActivated, "activated verified")
				var calls []fakeCall
				for _, k := range b.api.asked(invoicebox.Activate) {
					if k.value == "code-1" {
						calls = append(calls, k)
					}
				}
				if len(calls) != c.calls {
					t.Fatalf("%d requests, want %d", len(calls), c.calls)
				}
				if at := calls[1].at; at.Sub(began) < quietly || at.Sub(calls[0].end) < DefaultQuietPeriod {
					t.Errorf("the probe came %v after the claim, %v after the connection was closed", at.Sub(began), at.Sub(calls[0].end))
				}
			})
		})
	}
}

func TestUnknownOutcome_HoldMakesNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {lost}, "a@example.com": {lost}}))
		b.cfg.UnknownOutcome, b.cfg.Concurrency = onboarding.Hold, 1
		began := time.Now()
		act := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.until(time.Second, "unknown", func() bool { s, _ := b.j.state(act); return s == journal.Unknown })
		invite := b.add(journal.Invite, "shop-2", "a@example.com")
		behind := b.add(journal.Invite, "shop-1", "b@example.com")
		b.until(time.Hour, "settled", b.j.settled)
		b.finish()
		b.expect(act, journal.Attention, onboarding.ReasonOutcomeUnknown, "activation_failed outcome_unknown contact_support false")
		// An invitation is not held: a second e-mail is no harm.
		b.expect(invite, journal.Done, onboarding.ReasonSent, "invited sent")
		b.expect(behind, journal.Done, onboarding.ReasonSent, "invited sent")
		if n := len(b.api.asked(invoicebox.Activate)); n != 1 {
			t.Errorf("%d requests for the code", n)
		}
		// The quiet period holds the lane all the same.
		for _, k := range b.api.asked(invoicebox.Invite) {
			if k.value == "b@example.com" && k.at.Sub(began) < quietly {
				t.Errorf("the shop's next call came after %v", k.at.Sub(began))
			}
		}
	})
}

func TestUnknownOutcome_InvitationIsSentOnceMore(t *testing.T) {
	for name, c := range map[string]struct {
		answers []answer
		state   journal.State
		reason  onboarding.Reason
		event   string
		calls   int
	}{
		"good":             {[]answer{lost}, journal.Done, onboarding.ReasonSent, "invited sent", 2},
		"known by now":     {[]answer{lost, refusal(409)}, journal.Done, onboarding.ReasonAlreadyInvited, "invited already_invited", 2},
		"refused":          {[]answer{lost, refusal(422)}, journal.Done, onboarding.ReasonRefusedAddress, "invitation_failed address_rejected contact_support true", 2},
		"busy, then good":  {[]answer{lost, busy, busy}, journal.Done, onboarding.ReasonSent, "invited sent", 4},
		"lost again":       {[]answer{lost, lost}, journal.Attention, onboarding.ReasonOutcomeUnknown, "invitation_failed outcome_unknown contact_support false", 2},
		"busy, lost again": {[]answer{lost, busy, lost}, journal.Attention, onboarding.ReasonOutcomeUnknown, "invitation_failed outcome_unknown contact_support false", 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, steps(c.answers...))
				op := b.add(journal.Invite, "shop-1", "a@example.com")
				b.run(time.Hour)
				b.expect(op, c.state, c.reason, c.event)
				calls := b.api.asked(invoicebox.Invite)
				if len(calls) != c.calls {
					t.Fatalf("%d requests, want %d", len(calls), c.calls)
				}
				if after := calls[1].at.Sub(calls[0].end); after < DefaultQuietPeriod {
					t.Errorf("sent again after %v", after)
				}
				if b.j.shop(op.Shop).Invited == nil {
					t.Error("the cool-down does not know of it")
				}
			})
		})
	}
}

// The worker died, or was frozen, in the middle of a request: nobody knows when
// its connection was closed, so the end of its lease counts.
func TestUnknownOutcome_ProbeWaitsForADeadWorkersLease(t *testing.T) {
	for _, kind := range []journal.Kind{journal.Invite, journal.Activate} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, good)
			op := b.add(kind, "shop-1", "value-1")
			ends := time.Now().Add(40 * time.Second)
			b.otherSends(op, 40*time.Second)
			b.start()
			time.Sleep(time.Minute + 30*time.Second)
			b.finish() // the quiet period outlives processes
			b.run(5 * time.Minute)
			if s, _ := b.j.state(op); s != journal.Done {
				t.Errorf("%v ended as %v", kind, s)
			}
			call := b.api.calls[0]
			if call.at.Before(ends.Add(DefaultQuietPeriod)) || b.j.probes(op) != 1 {
				t.Errorf("%v: probed %v after the lease's end, %d probes", kind, call.at.Sub(ends), b.j.probes(op))
			}
		})
	}
}

// A shop whose first code is unknown enters a second one.
func TestUnknownOutcome_NewerCodeGoesInsteadOfTheProbe(t *testing.T) {
	closed := journal.Circuit{State: journal.CircuitPaused, Reason: string(onboarding.ReasonRights)}
	for name, c := range map[string]struct {
		answers map[string][]answer
		later   bool // the second code comes while the probe waits for the breaker
		first   string
		second  string
		order   string
	}{
		"it works": {map[string][]answer{"code-1": {lost}}, false,
			"superseded newer_code []", "done activated [activated]", "code-1 code-2"},
		"it works, and comes late": {map[string][]answer{"code-1": {lost}}, true,
			"superseded newer_code []", "done activated [activated]", "code-1 code-2"},
		"it is refused": {map[string][]answer{"code-1": {lost}, "code-2": {refusal(422)}}, false,
			"done activated [activated]", "done code_rejected [activation_failed]", "code-1 code-2 code-1"},
		"it is refused, and so is the first": {map[string][]answer{"code-1": {lost, refusal(422)}, "code-2": {refusal(422)}}, false,
			"attention outcome_lost [activation_failed]", "done code_rejected [activation_failed]", "code-1 code-2 code-1"},
		"it waits, then works": {map[string][]answer{"code-1": {lost}, "code-2": {busy, busy}}, false,
			"superseded newer_code []", "done activated [activated]", "code-1 code-2 code-2 code-2"},
		"it is unknown too, and its probe works": {map[string][]answer{"code-1": {lost}, "code-2": {lost}}, false,
			"superseded newer_code []", "done activated [activated]", "code-1 code-2 code-2"},
		"both prove nothing": {map[string][]answer{"code-1": {lost, lost}, "code-2": {lost, lost}}, false,
			"attention outcome_unknown [activation_failed]", "attention outcome_unknown [activation_failed]", "code-1 code-2 code-2 code-1"},
		"its answer is unreadable": {map[string][]answer{"code-1": {lost}, "code-2": {{status: 200, body: "{}"}}}, false,
			"done activated [activated]", "attention answer_unreadable [activation_failed]", "code-1 code-2 code-1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, answers(c.answers))
				began := time.Now()
				first := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				if c.later {
					b.until(time.Second, "unknown", func() bool { s, _ := b.j.state(first); return s == journal.Unknown })
					b.j.setCircuit("default", closed)
					time.Sleep(2 * quietly)
					b.expect(first, journal.Planned, onboarding.ReasonProbe)
				}
				time.Sleep(time.Second)
				second := b.add(journal.Activate, "shop-1", "code-2")
				b.j.setCircuit("default", journal.Circuit{State: journal.CircuitActive})
				b.until(time.Hour, "settled", b.j.settled)
				b.finish()
				for op, want := range map[*operation]string{first: c.first, second: c.second} {
					s, r := b.j.state(op)
					events := []string{}
					for _, e := range b.j.eventsOf(op) {
						events = append(events, e.Type[len("shop.invoicebox_"):])
					}
					if got := fmt.Sprint(s, " ", r, " ", events); got != want {
						t.Errorf("operation %d: %s, want %s", op.id, got, want)
					}
					if b.j.probes(op) > 1 {
						t.Errorf("operation %d: %d probes", op.id, b.j.probes(op))
					}
				}
				order := ""
				calls := b.api.asked(invoicebox.Activate)
				for _, k := range calls {
					order += " " + k.value
				}
				if order != " "+c.order {
					t.Errorf("requests %s, want %s", order, c.order)
				}
				if at := calls[1].at.Sub(began); at < quietly {
					t.Errorf("the second code was sent after %v", at)
				}
			})
		})
	}
}

// A third code goes before the probes of the first two.
func TestUnknownOutcome_EveryNewerCodeGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {lost}, "code-2": {lost}}))
		first := b.add(journal.Activate, "shop-1", "code-1")
		second := b.add(journal.Activate, "shop-1", "code-2")
		b.start()
		b.until(time.Hour, "second unknown", func() bool { s, _ := b.j.state(second); return s == journal.Unknown })
		third := b.add(journal.Activate, "shop-1", "code-3")
		b.until(time.Hour, "settled", b.j.settled)
		b.finish()
		b.expect(first, journal.Superseded, onboarding.ReasonNewerCode)
		b.expect(second, journal.Superseded, onboarding.ReasonNewerCode)
		b.expect(third, journal.Done, onboarding.ReasonActivated, "activated verified")
		if n := len(b.api.asked(invoicebox.Activate)); n != 3 {
			t.Errorf("%d requests", n)
		}
	})
}

// The same for addresses; a code is no newer address.
func TestUnknownOutcome_NewerAddressGoesInsteadOfTheSecondTry(t *testing.T) {
	for _, works := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
				switch {
				case value == "old@example.com" && n == 0:
					return lost
				case value == "new@example.com" && !works:
					return refusal(422)
				}
				return good(op, value, n)
			})
			old := b.add(journal.Invite, "shop-1", "old@example.com")
			b.start()
			time.Sleep(time.Second)
			newer := b.add(journal.Invite, "shop-1", "new@example.com")
			b.until(time.Hour, "settled", b.j.settled)
			b.finish()
			if works {
				b.expect(old, journal.Superseded, onboarding.ReasonNewerAddress)
				b.expect(newer, journal.Done, onboarding.ReasonSent, "invited sent")
			} else {
				b.expect(old, journal.Done, onboarding.ReasonSent, "invited sent")
				b.expect(newer, journal.Done, onboarding.ReasonRefusedAddress, "invitation_failed address_rejected contact_support true")
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, steps(lost))
		invite := b.add(journal.Invite, "shop-1", "a@example.com")
		act := b.add(journal.Activate, "shop-1", "code-1")
		b.run(time.Hour)
		b.expect(invite, journal.Done, onboarding.ReasonSent, "invited sent")
		b.expect(act, journal.Done, onboarding.ReasonActivated, "activated verified")
		if b.api.calls[1].value != "a@example.com" {
			t.Error("the code overtook the invitation")
		}
	})
}
