package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// A tokenChecks answers checks as the test says at the moment.
type tokenChecks struct {
	mu  sync.Mutex
	all answer            // of every token; zero is good
	one map[string]answer // of a token
}

func (o *tokenChecks) say(all answer, one map[string]answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all, o.one = all, one
}

func (o *tokenChecks) script(op invoicebox.Operation, value string, n int) answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	if op == invoicebox.Activate && strings.HasPrefix(value, "same-") {
		return answer{status: 200, body: `{"data":{"merchantId":"m-same","token":"token-` + value + `"}}`}
	}
	if op != invoicebox.Check {
		return good(op, value, n)
	}
	if a, ok := o.one[value]; ok {
		return a
	}
	if o.all.status != 0 || o.all.fail != "" {
		return o.all
	}
	return good(op, value, n)
}

var nobody = answer{status: 200, body: `{"data":{"userId":null}}`}

// every is the schedule of most tests: virtual days cost real seconds.
const every = 4 * time.Hour

// pass lets virtual time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// eventually is until with longer steps, for what takes hours.
func (h *harness) eventually(limit time.Duration, what string, cond func() bool) {
	h.t.Helper()
	for end := time.Now().Add(limit); !cond(); pass(10 * time.Second) {
		if time.Now().After(end) {
			h.t.Fatalf("after %v: not %s", limit, what)
		}
	}
}

// What was announced as pending is looked at until Invoicebox says something of
// it, whatever comes between.
func TestVerification_EndOfPending(t *testing.T) {
	longVirtualTime(t)
	const pending, verified, invalid = "activated pending", "credentials_verified", "credentials_invalid"
	for name, c := range map[string]struct {
		then   answer
		state  journal.State
		reason onboarding.Reason
		events []string
		within time.Duration
	}{
		"good":         {answer{}, journal.Done, onboarding.ReasonActivated, []string{pending, verified}, time.Hour + 5*time.Minute},
		"401":          {refusal(401), journal.Attention, onboarding.ReasonCredentialsInvalid, []string{pending, invalid}, 2*time.Hour + 2*5*time.Minute},
		"403":          {refusal(403), journal.Attention, onboarding.ReasonCredentialsInvalid, []string{pending, invalid}, 2*time.Hour + 2*5*time.Minute},
		"null user":    {nobody, journal.Attention, onboarding.ReasonCredentialsInvalid, []string{pending, invalid}, 2*time.Hour + 2*5*time.Minute},
		"500 for ever": {answer{status: 500}, journal.Done, onboarding.ReasonActivated, []string{pending}, 5 * time.Hour},
		"lost":         {lost, journal.Done, onboarding.ReasonActivated, []string{pending}, 5 * time.Hour},
		"HTML 403":     {answer{status: 403, body: "<html>"}, journal.Done, onboarding.ReasonActivated, []string{pending}, 5 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				office := &tokenChecks{}
				office.say(answer{status: 503}, nil)
				b := newHarness(t, office.script)
				b.cfg.VerifyEvery = onboarding.NoVerifyEvery // pending ones are looked at all the same
				op := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.until(time.Hour, "settled", b.j.settled)
				b.expect(op, journal.Done, onboarding.ReasonActivated, pending)
				pass(5 * time.Minute)
				n := len(b.j.reviews(op))
				if n < 3 {
					t.Errorf("%d looks in five minutes", n)
				}
				pass(5 * time.Hour)
				if more := len(b.j.reviews(op)) - n; more < 4 || more > 20 {
					t.Errorf("%d looks in five hours", more)
				}
				b.finish()
				office.say(c.then, nil)
				b.start() // it is in the journal
				from := time.Now()
				b.eventually(c.within+time.Minute, "told", func() bool {
					return len(b.j.eventsOf(op)) == len(c.events) && time.Since(from) > c.within/2
				})
				pass(3 * time.Hour)
				b.finish()
				b.expect(op, c.state, c.reason, c.events...)
				if looks := b.j.reviews(op); slices.Contains(looks, journal.ReviewRefused) {
					first := slices.Index(looks, journal.ReviewRefused)
					if len(looks[first:]) < 2 {
						t.Errorf("refused once, and announced: %v", looks)
					}
				}
				if accepted := len(c.events) == 2 && c.state == journal.Done; accepted == (b.j.column(op, "verified") == 0) {
					t.Errorf("verified at %d", b.j.column(op, "verified"))
				}
				if accepted := c.state == journal.Done && len(c.events) == 2; accepted {
					d := decoded(t, b.j.eventsOf(op)[1]).(schemas.CredentialsVerified)
					if d.Credentials.Version != 1 || d.ShopID != "shop-1" || !strings.HasSuffix(d.Credentials.Ref, "version=1") {
						t.Errorf("the event is %+v", d)
					}
				}
			})
		})
	}
}

// A refusal counts from the first to the last of them: minutes.
func TestVerification_RefusalIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		office := &tokenChecks{}
		b := newHarness(t, office.script)
		b.cfg.VerifyEvery = every
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		office.say(refusal(401), nil)
		b.eventually(every+time.Hour, "refused", func() bool { return slices.Contains(b.j.reviews(op), journal.ReviewRefused) })
		began := time.Now()
		pass(DefaultVerifyFor - 15*time.Second)
		b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
		office.say(answer{status: 500}, nil) // proves nothing, either way
		pass(time.Minute)
		b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
		office.say(answer{}, nil)
		pass(10 * time.Minute) // it was nothing
		office.say(refusal(401), nil)
		pass(every)
		b.eventually(time.Hour, "told", func() bool { return len(b.j.eventsOf(op)) == 2 })
		if time.Since(began) < every/2 {
			t.Errorf("told after %v", time.Since(began))
		}
		b.expect(op, journal.Attention, onboarding.ReasonCredentialsInvalid, "activated verified", "credentials_invalid")
		pass(4 * every)
		b.expect(op, journal.Attention, onboarding.ReasonCredentialsInvalid, "activated verified", "credentials_invalid")
		looks := len(b.j.reviews(op))
		office.say(answer{}, nil)
		pass(every + time.Minute)
		b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified", "credentials_invalid", "credentials_verified")
		office.say(refusal(403), nil)
		pass(every + time.Hour)
		b.finish()
		b.expect(op, journal.Attention, onboarding.ReasonCredentialsInvalid, "activated verified", "credentials_invalid", "credentials_verified", "credentials_invalid")
		ids := map[string]bool{}
		for _, e := range b.j.eventsOf(op) {
			ids[e.Event.String()] = true
		}
		if len(ids) != 4 || looks < 6 {
			t.Errorf("%d ids, %d looks", len(ids), looks)
		}
		for _, word := range []string{"token-code-1"} {
			if strings.Contains(b.log.String(), word) {
				t.Errorf("the log gives %q away", word)
			}
		}
	})
}

// A newer activation ends what is said of the older one's credentials.
func TestVerification_NewerActivationReplacesTheReview(t *testing.T) {
	for name, first := range map[string]answer{"pending": {status: 500}, "invalid": refusal(401)} {
		synctest.Test(t, func(t *testing.T) {
			office := &tokenChecks{}
			b := newHarness(t, office.script)
			b.cfg.VerifyEvery = every
			older := b.add(journal.Activate, "shop-1", "same-1")
			if name == "pending" {
				office.say(answer{}, map[string]answer{"token-same-1": first})
			}
			b.start()
			b.until(time.Hour, "settled", b.j.settled)
			office.say(answer{}, map[string]answer{"token-same-1": first})
			pass(2 * every)
			newer := b.add(journal.Activate, "shop-1", "same-2")
			b.until(time.Minute, "settled", b.j.settled)
			n := len(b.api.asked(invoicebox.Check))
			office.say(refusal(401), map[string]answer{"token-same-2": {status: 200, body: `{"data":{"userId":7}}`}})
			pass(2 * every)
			b.finish()
			for _, k := range b.api.asked(invoicebox.Check)[n:] {
				if k.value != "token-same-2" {
					t.Fatalf("%s: %s was looked at\n%s", name, k.value, b.log.String()[max(0, b.log.Len()-3000):])
				}
			}
			if name == "pending" {
				b.expect(older, journal.Done, onboarding.ReasonActivated, "activated pending")
			} else {
				b.expect(older, journal.Superseded, onboarding.ReasonNewerCode, "activated verified", "credentials_invalid")
			}
			b.expect(newer, journal.Done, onboarding.ReasonActivated, "activated verified")
		})
	}
}

// When everybody's token is refused at once it is not the tokens.
func TestVerification_RefusalsOfManyShopsAreNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shops = 30
		office := &tokenChecks{}
		b := newHarness(t, office.script)
		b.cfg.VerifyEvery = every
		var ops []*operation
		for i := range shops {
			ops = append(ops, b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i)))
		}
		b.start()
		b.until(time.Hour, "settled", b.j.settled)
		told := func() (n int) {
			for _, op := range ops {
				n += len(b.j.eventsOf(op)) - 1
			}
			return n
		}
		office.say(refusal(401), nil)
		pass(2 * every)
		first := told()
		b.finish()
		if first >= onboarding.MaxConsecutiveRejections || !strings.Contains(b.log.String(), "many consecutive tokens rejected") {
			t.Errorf("%d of %d shops were announced", first, shops)
		}
		b.start() // a restart forgets nothing of it
		pass(every)
		if n := told(); n != first {
			t.Errorf("%d more were announced after a restart", n-first)
		}
		// They work again, but for two that are really gone.
		office.say(answer{}, map[string]answer{"token-code-7": refusal(401), "token-code-8": nobody})
		pass(every + 2*time.Hour)
		b.finish()
		if n := strings.Count(b.log.String(), "many consecutive tokens rejected"); n != 2 {
			t.Errorf("said %d times", n)
		}
		for i, op := range ops {
			events := b.j.eventsOf(op)
			last := events[len(events)-1].Type
			if gone := i == 7 || i == 8; gone != (last == schemas.TypeCredentialsInvalid) {
				t.Errorf("shop %d: %d events, the last is %s", i, len(events), last)
			}
		}
	})
}

// A schedule that has much to do takes its small share and delays nobody.
func TestVerification_ReviewsTakeTheirShareOnly(t *testing.T) {
	longVirtualTime(t)
	synctest.Test(t, func(t *testing.T) {
		const shops = 300
		b := newHarness(t, good)
		b.cfg.VerifyEvery, b.cfg.EgressRequests, b.cfg.Accounts[0].Requests = time.Minute, 200, 10_000
		for i := range shops {
			b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i))
		}
		b.start()
		b.until(time.Hour, "settled", b.j.settled)
		began, n := time.Now(), len(b.api.asked(invoicebox.Check))
		pass(10 * time.Minute)
		looks := b.api.asked(invoicebox.Check)[n:]
		if want := 20 * 20; len(looks) < want*8/10 {
			t.Errorf("%d looks in ten minutes, want nearly %d", len(looks), want)
		}
		for i := range looks {
			if k := i + 200/verificationShare; k < len(looks) && looks[k].at.Sub(looks[i].end) < DefaultWindow {
				t.Fatalf("looks %d to %d are in one window", i, k)
			}
		}
		for i := range 150 {
			b.add(journal.Invite, fmt.Sprint("new-", i), fmt.Sprintf("s%d@example.com", i))
		}
		from := time.Now()
		b.until(time.Minute, "settled", b.j.settled)
		if took := time.Since(from); took > time.Second {
			t.Errorf("150 invitations took %v beside reviews", took)
		}
		b.finish()
		t.Logf("%d looks in %v", len(looks), time.Since(began))
	})
}

func TestVerification_NoScheduleLooksAtNothing(t *testing.T) {
	longVirtualTime(t)
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.cfg.VerifyEvery = onboarding.NoVerifyEvery
		b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		pass(2 * onboarding.DefaultVerifyEvery)
		if n := len(b.api.asked(invoicebox.Check)); n != 1 {
			t.Errorf("%d checks", n)
		}
		b.finish()
		// Switched on, what lies further ahead than it says is due.
		b.cfg.VerifyEvery = time.Hour
		b.start()
		pass(6 * time.Hour)
		b.finish()
		if n := len(b.api.asked(invoicebox.Check)); n < 6 || n > 14 {
			t.Errorf("%d checks in six hours", n)
		}
	})
}

// Stored credentials that do not open are nobody's verdict.
func TestVerification_ReviewThatCannotReadTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.cfg.VerifyEvery = every
		op := b.add(journal.Activate, "shop-1", "code-1")
		other := b.add(journal.Activate, "shop-2", "code-2")
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		b.j.exec("UPDATE credential SET secret = ? WHERE operation = ?", []byte("damaged"), op.id)
		pass(2 * every)
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
		if len(b.j.reviews(op)) == 0 || !slices.Contains(b.j.reviews(other), journal.ReviewAccepted) {
			t.Errorf("looks %v, %v", b.j.reviews(op), b.j.reviews(other))
		}
		if !strings.Contains(b.log.String(), "cannot read stored credentials") {
			t.Error("nobody was told")
		}
	})
}

// longVirtualTime skips a test of days or weeks, in which little is concurrent, where
// tests run with the race detector.
func longVirtualTime(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long, and little of it is concurrent")
	}
}
