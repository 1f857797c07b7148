package engine

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

const partnerRefusal = `{"error":{"code":"validation","message":"x","fields":[{"name":"partnerId","code":"wrong_value"}]}}`

// While the check at the start says that the settings are wrong, nothing is sent.
// The account resumes by itself when a later check succeeds.
func TestFirstCheck_BlocksTheAccount(t *testing.T) {
	for name, c := range map[string]struct {
		first answer
		want  onboarding.Reason
	}{
		"NoAPI":       {answer{status: http.StatusNotFound, body: "<html>"}, onboarding.ReasonAddress},
		"NoMethod":    {answer{status: http.StatusMethodNotAllowed}, onboarding.ReasonAddress},
		"Redirect":    {answer{status: http.StatusFound}, onboarding.ReasonAddress},
		"Page":        {answer{status: http.StatusOK, body: "<html>welcome</html>"}, onboarding.ReasonAddress},
		"BadRequest":  {answer{status: http.StatusBadRequest, body: "<html>"}, onboarding.ReasonAddress},
		"NotHTTP":     {answer{fail: invoicebox.ReasonNotHTTP}, onboarding.ReasonAddress},
		"Partner":     {answer{status: http.StatusUnprocessableEntity, body: partnerRefusal}, onboarding.ReasonPartner},
		"TokenOfNone": {answer{status: http.StatusUnauthorized}, onboarding.ReasonToken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var right atomic.Bool
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if right.Load() {
						return good(op, value, n)
					}
					return c.first
				})
				x := b.api.CheckOwnToken(t.Context())
				b.cfg.Accounts[0].FirstCheck = &x
				b.cfg.Accounts[0].Unproven = true
				for i := range 5 {
					b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i))
					b.add(journal.Invite, fmt.Sprint("shop-", i+5), fmt.Sprintf("%d@example.com", i))
				}
				calls := func() int { return len(b.api.asked(invoicebox.Invite)) + len(b.api.asked(invoicebox.Activate)) }
				b.start()
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				s := b.engine.Status(time.Time{}, time.Now())[0]
				if s.Circuit.State != journal.CircuitPaused || s.Circuit.Reason != string(c.want) || calls() != 0 {
					t.Errorf("after %d calls the account is %s (%s)", calls(), s.Circuit.State, s.Circuit.Reason)
				}
				if wait := time.Until(s.CheckAt); wait <= 0 || wait > 5*time.Minute {
					t.Errorf("the next check is in %v", wait)
				}
				if c.want != onboarding.ReasonToken && b.j.circuit().State == journal.CircuitPaused {
					t.Error("other replicas, whose settings may be right, are paused as well")
				}
				right.Store(true)
				b.until(10*time.Minute, "settled", b.j.settled)
				b.finish()
				for _, op := range b.j.ops {
					if b.j.record(op).State != journal.Done {
						t.Errorf("operation %d: %v (%s)", op.id, b.j.record(op).State, b.j.record(op).Reason)
					}
				}
			})
		})
	}
}

// A good check at the start resumes at once what was paused for the address or the
// token before the restart.
func TestFirstCheck_ResumesTheAccount(t *testing.T) {
	for _, reason := range []onboarding.Reason{onboarding.ReasonAddress, onboarding.ReasonToken} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, good)
			b.j.setCircuit("default", journal.Circuit{State: journal.CircuitPaused, Reason: string(reason), Since: time.Now().Add(-time.Hour)})
			x := b.api.CheckOwnToken(t.Context())
			b.cfg.Accounts[0].FirstCheck = &x
			op := b.add(journal.Activate, "shop", "code")
			b.start()
			b.until(5*time.Second, "settled", b.j.settled)
			b.finish()
			b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
			if g := b.j.circuit(); g.State != journal.CircuitActive {
				t.Errorf("%s: the circuit breaker is %+v", reason, g)
			}
		})
	}
}

// The check does not carry the partner id. While no answer has shown that it is
// right, one operation finds out.
func TestFirstCheck_OneOperationFindsOutThatSettingsAreWrong(t *testing.T) {
	for name, c := range map[string]struct {
		answer answer
		want   onboarding.Reason
	}{
		"Partner": {answer{status: http.StatusUnprocessableEntity, body: partnerRefusal}, onboarding.ReasonPartner},
		"Address": {answer{status: http.StatusNotFound, body: "<html>"}, onboarding.ReasonAddress},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if op == invoicebox.CheckOwn {
						return good(op, value, n)
					}
					return c.answer
				})
				x := b.api.CheckOwnToken(t.Context())
				b.cfg.Accounts[0].FirstCheck = &x
				b.cfg.Accounts[0].Unproven = true
				for i := range 5 {
					b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i))
					b.add(journal.Invite, fmt.Sprint("shop-", i+5), fmt.Sprintf("%d@example.com", i))
				}
				b.start()
				time.Sleep(20 * time.Second)
				b.finish()
				attention := 0
				for _, op := range b.j.ops {
					if b.j.record(op).State == journal.Attention {
						attention++
					}
				}
				if g := b.j.circuit(); attention != 1 || g.State != journal.CircuitPaused || g.Reason != string(c.want) {
					t.Errorf("%d operations wait for a person, and the circuit breaker is %+v", attention, g)
				}
			})
		})
	}
}

// Once an answer has shown that the settings are right, calls are made at once as
// many as the concurrency permits.
func TestFirstCheck_AnswerEndsTheProving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.api.latency = 10 * time.Second
		b.cfg.Accounts[0].Unproven = true
		for i := range 20 {
			b.add(journal.Invite, fmt.Sprint("shop-", i), fmt.Sprintf("%d@example.com", i))
		}
		b.start()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if n := len(b.api.asked(invoicebox.Invite)); n != 1 {
			t.Errorf("%d calls before the first answer", n)
		}
		b.until(15*time.Second, "settled", b.j.settled)
		b.finish()
	})
}
