package engine

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// classOf is how a scripted answer has to be counted.
type sent struct {
	again   bool // provably not executed: may be sent again
	flagged bool // doubt: the next one is flagged
	unknown bool // doubt: one more after the quiet period, flagged
}

var menu = map[string]struct {
	answer answer
	sent
}{
	"unreachable": {answer{fail: invoicebox.ReasonConnect, unsent: true}, sent{again: true}},
	"425":         {answer{status: 425}, sent{again: true}},
	"429":         {answer{status: 429, header: http429("3")}, sent{again: true}},
	"401":         {answer{status: 401}, sent{again: true}},
	"408":         {answer{status: 408}, sent{again: true, flagged: true}},
	"503":         {answer{status: 503}, sent{again: true, flagged: true}},
	"refused":     {refusal(422), sent{}},
	"403":         {refusal(403), sent{}},
	"500":         {answer{status: 500}, sent{unknown: true}},
	"lost":        {answer{fail: invoicebox.ReasonLost}, sent{unknown: true}},
	"unreadable":  {answer{status: 200, body: "{}"}, sent{}},
	"good":        {answer{}, sent{}},
}

var menuNames = []string{"unreachable", "425", "429", "401", "408", "503", "refused", "403", "500", "lost", "unreadable", "good", "good", "good"}

var bothKinds = []journal.Kind{journal.Invite, journal.Activate}

// Whatever the API answers, the journal fails and the process stops and starts:
// a code is sent once plus once for each proven non-execution or flagged doubt
// and once for all unknown outcomes, that one after the quiet period; a shop's requests never overlap, a received token is never lost, every
// operation ends in an event or in attention, and when the faults stop all is
// done within a bounded time.
func TestInvariants_UnderRandomFaults(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		type op struct {
			kind  journal.Kind
			shop  string
			value string
			turns []string
		}
		var plan []op
		n := rapid.IntRange(1, 12).Draw(r, "operations")
		for i := range n {
			kind := rapid.SampledFrom(bothKinds).Draw(r, "kind")
			plan = append(plan, op{kind, fmt.Sprint("shop-", rapid.IntRange(0, 4).Draw(r, "shop")), fmt.Sprintf("value-%d", i),
				rapid.SliceOfN(rapid.SampledFrom(menuNames), 0, 4).Draw(r, "answers")})
		}
		faults := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 40).Draw(r, "journal faults")
		stops := rapid.SliceOfN(rapid.IntRange(0, 3000), 0, 3).Draw(r, "stops in ms")
		commit := rapid.IntRange(0, 20).Draw(r, "commit in ms")
		concurrency := rapid.IntRange(1, 6).Draw(r, "concurrency")

		synctest.Test(t, func(t *testing.T) {
			turns := map[string][]string{}
			for _, o := range plan {
				turns[o.value] = o.turns
			}
			asked := map[string][]string{} // value → what was answered, in order
			b := newHarness(t, func(op invoicebox.Operation, value string, _ int) answer {
				if op == invoicebox.Check || op == invoicebox.CheckOwn {
					return good(op, value, 0)
				}
				name := "good"
				if left := turns[value]; len(left) > 0 {
					name, turns[value] = left[0], left[1:]
				}
				asked[value] = append(asked[value], name)
				if name == "good" {
					if op == invoicebox.Activate {
						return answer{status: 200, body: fmt.Sprintf(`{"data":{"merchantId":"m-%s","token":"token-%s"}}`, value, value)}
					}
					return good(op, value, 0)
				}
				return menu[name].answer
			})
			b.cfg.Concurrency = concurrency
			b.j.slow(time.Duration(commit) * time.Millisecond)
			step := 0
			b.j.failing(func(_ string, done bool) error {
				step++
				if i := step / 2; i < len(faults) && (faults[i] == 0 && !done || faults[i] == 1 && done) {
					return errors.New("input/output error")
				}
				return nil
			})
			for _, o := range plan {
				b.add(o.kind, o.shop, o.value)
			}
			for _, ms := range stops {
				b.start()
				time.Sleep(time.Duration(ms) * time.Millisecond)
				b.finish()
			}
			b.start()
			// A rejection three times in a row pauses the account for a person.
			b.until(24*time.Hour, "settled", func() bool {
				if g := b.j.circuit(); g.State == journal.CircuitPaused && g.Reason != string(onboarding.ReasonToken) {
					b.j.setCircuit("default", journal.Circuit{State: journal.CircuitActive, Since: time.Now()})
				}
				return b.j.settled()
			})
			b.finish()
			checkInvariants(t, b, asked)
		})
	})
}

func checkInvariants(t *testing.T, b *harness, asked map[string][]string) {
	t.Helper()
	ends := map[string]time.Time{}
	for _, c := range b.api.calls {
		if c.op != invoicebox.Invite && c.op != invoicebox.Activate {
			continue
		}
		if !c.finished {
			t.Fatal("a call never ended")
		}
		for _, o := range b.j.ops {
			if o.value == c.value {
				if c.at.Before(ends[o.Shop.Shop]) {
					t.Errorf("%s: two requests of shop %s overlap", o.value, o.Shop.Shop)
				}
				ends[o.Shop.Shop] = c.end
			}
		}
	}
	for _, o := range b.j.ops {
		value := o.value
		answers := asked[value]
		doubt := false
		unknowns := 0
		var calls []fakeCall // those that left, and what was answered to each
		var left []string
		for _, c := range b.api.calls {
			if c.value == value {
				calls = append(calls, c)
			}
		}
		for _, name := range answers {
			if !menu[name].answer.unsent {
				left = append(left, name)
			}
		}
		for i, name := range answers {
			m := menu[name]
			last := i == len(answers)-1
			if !last && !m.again && !m.unknown {
				t.Errorf("%s was sent again after %q", value, name)
			}
			if m.unknown {
				if unknowns++; unknowns > 1 && !last {
					t.Errorf("%s was probed twice: %q", value, answers)
				}
			}
			doubt = doubt || m.flagged || m.unknown
		}
		doubt = doubt || b.j.column(o, "unknowns") > 0 // a step of the journal failed for the whole of a lease
		for i := 1; i < len(calls); i++ {
			if quiet := calls[i].at.Sub(calls[i-1].end); menu[left[i-1]].unknown && quiet < DefaultQuietPeriod {
				t.Errorf("%s: asked again %v after %q", value, quiet, left[i-1])
			}
		}
		events := b.j.eventsOf(o)
		ids := map[string]bool{}
		for _, e := range events {
			if ids[e.Event.String()] {
				t.Errorf("%s: event %s twice", value, e.Event)
			}
			ids[e.Event.String()] = true
			if a, ok := decoded(t, e).(schemas.Activated); ok {
				found := false
				for _, c := range b.j.credentials(o.Shop) {
					found = found || c.Reference == a.Credentials.Ref
				}
				if !found {
					t.Errorf("%s: the event's reference does not resolve", value)
				}
			}
		}
		state, reason := b.j.state(o)
		if len(events) == 0 && state != journal.Superseded && !(state == journal.Attention && onboarding.AttentionFailure(reason) == "") {
			t.Errorf("%s: %v (%s) without an event", value, state, reason)
		}
		last := ""
		if len(answers) > 0 {
			last = answers[len(answers)-1]
		}
		if o.Kind == journal.Activate && (last == "good" || last == "unreadable") && len(b.j.receipts(o)) == 0 {
			t.Errorf("%s: an answer was lost", value)
		}
		// Two activations of one shop bring two merchants here: the second one
		// is in conflict, and is kept.
		if o.Kind == journal.Activate && last == "good" && state == journal.Attention && reason != onboarding.ReasonMerchantConflict {
			t.Errorf("%s: a good answer ended as %s", value, reason)
		}
		overtaken := state == journal.Superseded && reason == onboarding.ReasonNewerCode
		if last == "refused" && o.Kind == journal.Activate && (state == journal.Attention || overtaken) != doubt {
			t.Errorf("%s: refused, doubt %v, ended %v (%s)", value, doubt, state, reason)
		}
	}
}
