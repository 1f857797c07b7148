package engine

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

const sameAddress = "same@example.com"

// coolBench runs a engine with an address cool-down of an hour.
func coolBench(t *testing.T, s script) *harness {
	b := newHarness(t, s)
	b.cfg.AddressCoolDown = time.Hour
	return b
}

// Shops of one address are invited one after the other, and nothing is
// published of one that waits.
func TestCoolDown_DelaysTheInvitation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := coolBench(t, good)
		r := prometheus.NewPedanticRegistry()
		b.cfg.Metrics = NewMetrics(r)
		same := []*operation{b.add(journal.Invite, "a", sameAddress), b.add(journal.Invite, "b", sameAddress), b.add(journal.Invite, "c", sameAddress)}
		other := b.add(journal.Invite, "d", "other@example.com")
		began := time.Now()
		b.start()
		// They are claimed together: any can be the first.
		first := -1
		b.until(5*time.Minute, "the first", func() bool {
			first = slices.IndexFunc(same, func(op *operation) bool { s, _ := b.j.state(op); return s == journal.Done })
			return first >= 0
		})
		waiting := slices.Delete(slices.Clone(same), first, first+1)
		b.until(5*time.Minute, "the other", func() bool { s, _ := b.j.state(other); return s == journal.Done })
		time.Sleep(30 * time.Minute)
		for _, op := range waiting {
			if s, why := b.j.state(op); s != journal.Planned || why != onboarding.ReasonAddressCoolDown || len(b.j.eventsOf(op)) != 0 {
				t.Errorf("%s is %v (%s) with %d events", op.Shop.Shop, s, why, len(b.j.eventsOf(op)))
			}
		}
		b.until(2*time.Hour, "settled", b.j.settled)
		b.finish()
		for _, op := range append(same, other) {
			b.expect(op, journal.Done, onboarding.ReasonSent, "invited sent")
		}
		var at []time.Duration
		for _, c := range b.api.asked(invoicebox.Invite) {
			if c.value == sameAddress {
				at = append(at, c.at.Sub(began).Round(time.Minute))
			}
		}
		if !slices.Equal(at, []time.Duration{0, time.Hour, 2 * time.Hour}) {
			t.Errorf("e-mails after %v", at)
		}
		if n, err := testutil.GatherAndCount(r, "invoicebox_worker_invitations_delayed_total"); err != nil || n != 1 {
			t.Errorf("%d series of delayed invitations, error %v", n, err)
		}
	})
}

// Without the setting nothing is looked up, and three shops get three e-mails.
func TestCoolDown_Off(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		for _, shop := range []string{"a", "b", "c"} {
			b.add(journal.Invite, shop, sameAddress)
		}
		b.run(5 * time.Second)
		if n := len(b.api.asked(invoicebox.Invite)); n != 3 || b.j.attempts("mac IS NOT NULL") != 0 {
			t.Errorf("%d calls, %d addresses kept", n, b.j.attempts("mac IS NOT NULL"))
		}
	})
}

// A cool-down ends with the attempt that began it when that sent no e-mail, and
// an invitation never waits for its own attempts.
func TestCoolDown_BeginsWithAnEMail(t *testing.T) {
	for name, c := range map[string]struct {
		first  []answer
		within time.Duration // until both have ended
		after  time.Duration
	}{
		"refused":                 {[]answer{refusal(422)}, time.Minute, 0},
		"limited":                 {[]answer{{status: 429, header: http429("30")}}, 70 * time.Minute, 55 * time.Minute},
		"not connected":           {[]answer{{fail: invoicebox.ReasonConnect, unsent: true}}, 70 * time.Minute, 55 * time.Minute},
		"probably not, then sent": {[]answer{{status: 408}}, 70 * time.Minute, 55 * time.Minute},
		"unknown, then sent":      {[]answer{lost}, 70 * time.Minute, 55 * time.Minute},
		"sent":                    {nil, 70 * time.Minute, 55 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := coolBench(t, answers(map[string][]answer{sameAddress: c.first}))
				b.add(journal.Invite, "a", sameAddress)
				b.add(journal.Invite, "b", sameAddress)
				began := time.Now()
				b.start()
				b.until(c.within, "settled", b.j.settled)
				if took := time.Since(began); took < c.after {
					t.Errorf("settled after %v, want at least %v", took, c.after)
				}
				b.finish()
			})
		})
	}
}

// What never gets its turn fails as expired, no later than the maximum age: no
// request could be sent.
func TestCoolDown_EndsWithTheMaximumAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := coolBench(t, good)
		b.cfg.MaximumAge = 90 * time.Minute
		var ops []*operation
		for _, shop := range []string{"a", "b", "c"} {
			ops = append(ops, b.add(journal.Invite, shop, sameAddress))
		}
		began := time.Now()
		b.start()
		b.until(91*time.Minute, "settled", b.j.settled)
		if took := time.Since(began); took < 90*time.Minute {
			t.Errorf("settled after %v", took)
		}
		b.finish()
		ends := map[onboarding.Reason]int{}
		for _, op := range ops {
			_, why := b.j.state(op)
			ends[why]++
			if why == onboarding.ReasonExpired {
				b.expect(op, journal.Done, onboarding.ReasonExpired, "invitation_failed expired contact_support true")
			}
		}
		if ends[onboarding.ReasonSent] != 2 || ends[onboarding.ReasonExpired] != 1 {
			t.Errorf("they ended as %v", ends)
		}
	})
}

// An invitation that waits lets the codes of its shop go first.
func TestCoolDown_HoldsNoCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := coolBench(t, good)
		first := b.add(journal.Invite, "a", sameAddress)
		b.start()
		b.until(time.Minute, "the first", func() bool { s, _ := b.j.state(first); return s == journal.Done })
		// The code is there before the invitation is put off, and queued behind it.
		both := b.j.add(input{journal.Invite, "default", "b", sameAddress}, input{journal.Activate, "default", "b", "code-1"})
		waits, code := both[0], both[1]
		b.until(time.Minute, "activated", func() bool { s, _ := b.j.state(code); return s == journal.Done })
		b.until(time.Minute, "ended", func() bool { s, _ := b.j.state(waits); return s == journal.Done })
		b.finish()
		b.expect(waits, journal.Done, onboarding.ReasonAlreadyActive, "invited already_active")
	})
}
