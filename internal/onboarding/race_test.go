package onboarding

import (
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
)

// A newer activation commits between the last refusal of the older one's token
// and the word of it: the shop's credentials are the newer ones, and nobody
// hears otherwise.
func TestARefusalThatIsOvertakenIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *bench
		var op *fakeOp
		began := time.Now()
		b = newBench(t, func(o invoicebox.Operation, value string, n int) answer {
			if o != invoicebox.Check {
				return good(o, value, n)
			}
			if time.Since(began) > DefaultVerifyFor {
				b.j.mu.Lock()
				b.j.active[op.Shop] = &journal.ActiveView{At: time.Now(), MerchantID: "m-code-1", Version: 2}
				b.j.mu.Unlock()
			}
			return refusal(401)
		})
		op = b.add(journal.Activate, "shop-1", "code-1")
		b.run(time.Hour)
		b.expect(op, journal.Superseded, ReasonNewerCode)
	})
}

// No e-mail goes out while an activation of the shop is before its end.
func TestAnInvitationWaitsForTheActivation(t *testing.T) {
	for name, c := range map[string]struct {
		check   answer
		state   journal.State
		reason  Reason
		events  []string
		invites int
	}{
		"it works":    {answer{}, journal.Done, ReasonAlreadyActive, []string{"invited already_active"}, 0},
		"it does not": {refusal(401), journal.Done, ReasonSent, []string{"invited sent"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				office := &tokenOffice{}
				office.say(refusal(401), nil)
				b := newBench(t, office.script)
				act := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.until(time.Minute, "stored", func() bool { s, _ := b.j.state(act); return s == journal.Stored })
				invite := b.add(journal.Invite, "shop-1", "a@example.com")
				second := b.add(journal.Invite, "shop-1", "b@example.com")
				pass(time.Minute)
				if n := len(b.api.asked(invoicebox.Invite)); n != 0 {
					t.Errorf("%d e-mails while the activation is not at its end", n)
				}
				if n := len(b.j.claims); n > 60 {
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
