package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// A newer activation commits between the last refusal of the older one's token
// and the word of it: the shop's credentials are the newer ones, and nobody
// hears otherwise.
func TestRace_RefusalThatIsOvertakenIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *harness
		var op, newer *operation
		began := time.Now()
		b = newHarness(t, func(o invoicebox.Operation, value string, n int) answer {
			if o != invoicebox.Check {
				return good(o, value, n)
			}
			if time.Since(began) > DefaultVerifyFor && len(b.j.credentials(newer.Shop)) == 1 {
				b.activates(newer, 2, "m-code-1", "another-token")
			}
			return refusal(401)
		})
		newer = b.add(journal.Activate, "shop-1", "code-2")
		b.j.put(newer, journal.Attention, nil) // another process has it
		op = b.add(journal.Activate, "shop-1", "code-1")
		b.run(time.Hour)
		b.expect(op, journal.Superseded, onboarding.ReasonNewerCode)
	})
}

// No e-mail goes out while an activation of the shop is before its end.
func TestRace_InvitationWaitsForTheActivation(t *testing.T) {
	for name, c := range map[string]struct {
		check   answer
		state   journal.State
		reason  onboarding.Reason
		events  []string
		invites int
	}{
		"it works":    {answer{}, journal.Done, onboarding.ReasonAlreadyActive, []string{"invited already_active"}, 0},
		"it does not": {refusal(401), journal.Done, onboarding.ReasonSent, []string{"invited sent"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				office := &tokenChecks{}
				office.say(refusal(401), nil)
				b := newHarness(t, office.script)
				act := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.until(time.Minute, "stored", func() bool { s, _ := b.j.state(act); return s == journal.Stored })
				invite := b.add(journal.Invite, "shop-1", "a@example.com")
				second := b.add(journal.Invite, "shop-1", "b@example.com")
				pass(time.Minute)
				if n := len(b.api.asked(invoicebox.Invite)); n != 0 {
					t.Errorf("%d e-mails while the activation is not at its end", n)
				}
				if n := len(b.j.claims()); n > 60 {
					t.Errorf("%d claims in a minute", n)
				}
				office.say(c.check, nil)
				b.until(10*time.Minute, "settled", b.j.settled)
				b.finish()
				b.expect(invite, c.state, c.reason, c.events...)
				b.expect(second, c.state, c.reason, c.events...)
				if n := len(b.api.asked(invoicebox.Invite)); n != 2*c.invites {
					t.Errorf("%d e-mails", n)
				}
			})
		})
	}
}

// An answer to the first request comes while the probe is under way: whatever
// the probe brings, the shop's next request begins after its end, and its
// permit comes back by that end.
func TestRace_LateAnswerBesideTheProbe(t *testing.T) {
	for name, probe := range map[string]answer{"refused": refusal(422), "lost": lost, "500": {status: 500}, "429": {status: 429}, "good": {}, "not sent": {fail: invoicebox.ReasonConnect, unsent: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b *harness
				var op *operation
				b = newHarness(t, func(o invoicebox.Operation, value string, n int) answer {
					switch {
					case value == "code-1" && n == 0:
						return lost
					case value == "code-1":
						b.late(op, body("code-1", "code-1"))
						if probe.status != 0 || probe.fail != "" {
							return probe
						}
					}
					return good(o, value, n)
				})
				b.api.latency = 5 * time.Second
				op = b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.until(time.Hour, "probed", func() bool { return len(b.j.record(op).Tries) == 2 })
				next := b.add(journal.Invite, "shop-1", "a@example.com")
				b.until(time.Hour, "settled", func() bool { return b.j.settled() && b.j.compared(op) })
				b.finish()
				b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
				b.expect(next, journal.Done, onboarding.ReasonAlreadyActive, "invited already_active")
				var end time.Time
				for _, k := range b.api.calls {
					if k.op == invoicebox.Check && k.at.Before(end) {
						t.Errorf("the answer was gone on with %v before the probe's end", end.Sub(k.at))
					}
					if k.value == "code-1" {
						end = k.end
					}
				}
				if n := b.j.attempts("ended IS NULL"); n != 0 {
					t.Errorf("%d attempts have no end", n)
				}
			})
		})
	}
}
