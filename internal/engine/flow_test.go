package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// checks gives one answer to every check of a shop's token.
func checks(a answer) script {
	return func(op invoicebox.Operation, value string, n int) answer {
		if op == invoicebox.Check {
			return a
		}
		return good(op, value, n)
	}
}

func TestEngine_Verification(t *testing.T) {
	goodAfter := func(n int, before answer) script {
		return func(op invoicebox.Operation, value string, asked int) answer {
			if op == invoicebox.Check && asked < n {
				return before
			}
			return good(op, value, asked)
		}
	}
	for name, c := range map[string]struct {
		script        script
		after, before time.Duration
		state         journal.State
		reason        onboarding.Reason
		event         string
	}{
		"at once":                   {good, 0, time.Second, journal.Done, onboarding.ReasonActivated, "activated verified"},
		"401 at first":              {goodAfter(3, answer{status: 401}), 2 * time.Second, 20 * time.Second, journal.Done, onboarding.ReasonActivated, "activated verified"},
		"401 for two minutes":       {checks(answer{status: 401}), 2 * time.Minute, 150 * time.Second, journal.Attention, onboarding.ReasonCredentialsInvalid, "activation_failed credentials_invalid contact_support false"},
		"nobody for two minutes":    {checks(answer{status: 200, body: `{"data":{"userId":null}}`}), 2 * time.Minute, 150 * time.Second, journal.Attention, onboarding.ReasonCredentialsInvalid, "activation_failed credentials_invalid contact_support false"},
		"no answer for two minutes": {checks(answer{status: 500}), 2 * time.Minute, 150 * time.Second, journal.Done, onboarding.ReasonActivated, "activated pending"},
		"a gateway's 403":           {checks(answer{status: 403, body: "<html>"}), 2 * time.Minute, 150 * time.Second, journal.Done, onboarding.ReasonActivated, "activated pending"},
		"401, then no answer": {func(op invoicebox.Operation, value string, n int) answer {
			if op == invoicebox.Check && n < 2 {
				return answer{status: 401}
			}
			return checks(answer{status: 503})(op, value, n)
		}, 2 * time.Minute, 150 * time.Second, journal.Attention, onboarding.ReasonCredentialsInvalid, "activation_failed credentials_invalid contact_support false"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, c.script)
				began := time.Now()
				op := b.add(journal.Activate, "shop-1", "code-1")
				next := b.add(journal.Activate, "shop-1", "code-2")
				b.start()
				b.until(c.before, "ended", func() bool { s, _ := b.j.state(op); return !s.Open() })
				if took := time.Since(began); took < c.after {
					t.Errorf("ended after %v, want at least %v", took, c.after)
				}
				b.expect(op, c.state, c.reason, c.event)
				// Verification does not hold the lane: the next code was sent long ago.
				if calls := b.api.asked(invoicebox.Activate); len(calls) != 2 || calls[1].at.Sub(began) > time.Second {
					t.Errorf("the shop's next code was sent at %+v", calls)
				}
				b.until(5*time.Minute, "settled", b.j.settled)
				b.finish()
				if n := len(b.api.asked(invoicebox.Check)); n > 40 {
					t.Errorf("%d checks", n)
				}
				_ = next
			})
		})
	}
}

func TestEngine_MerchantConflictAnnouncesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			if op == invoicebox.Activate {
				return answer{status: 200, body: `{"data":{"merchantId":"m-same","token":"token-` + value + `"}}`}
			}
			return good(op, value, n)
		})
		first := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.until(time.Second, "settled", b.j.settled)
		second := b.add(journal.Activate, "shop-2", "code-2")
		rotation := b.add(journal.Activate, "shop-1", "code-3")
		b.until(time.Second, "settled", b.j.settled)
		b.finish()
		b.expect(first, journal.Done, onboarding.ReasonActivated, "activated verified")
		b.expect(second, journal.Attention, onboarding.ReasonMerchantConflict, "activation_failed merchant_conflict contact_support false")
		b.expect(rotation, journal.Done, onboarding.ReasonActivated, "activated verified")
		if len(b.j.credentials(second.Shop)) != 0 || len(b.j.receipts(second)) != 1 {
			t.Errorf("%d credentials, %d receipts of the shop in conflict", len(b.j.credentials(second.Shop)), len(b.j.receipts(second)))
		}
		if v := decoded(t, b.j.eventsOf(rotation)[0]).(schemas.Activated).Credentials.Version; v != 2 {
			t.Errorf("the rotation has version %d", v)
		}
	})
}

func TestEngine_ReceiptThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		for i := range 2 {
			op := b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i))
			b.received(op, "attempt/1", `{}`)
		}
		subject := b.add(journal.Invite, "shop-9", "a@example.com")
		b.j.edit("UPDATE attempt SET answer = NULL WHERE operation = ?", b.j.ops[0].id)
		b.j.edit("UPDATE attempt SET answer = ? WHERE answer IS NOT NULL AND operation = ?", []byte("nonsense"), b.j.ops[1].id)
		b.j.edit("UPDATE event SET subject = ? WHERE id = ?", []byte("nonsense"), subject.id)
		b.run(time.Second)
		for _, op := range b.j.ops[:2] {
			b.expect(op, journal.Attention, onboarding.ReasonAnswerNotAuthentic, "activation_failed answer_unreadable contact_support false")
		}
		b.expect(subject, journal.Attention, onboarding.ReasonSubjectUnreadable)
		if len(b.api.calls) != 0 {
			t.Errorf("calls %+v", b.api.calls)
		}
	})
}

// Two answers of one shop that are taken up at the same time want the same
// version: one of them comes again.
func TestEngine_VersionTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		for i := range 2 {
			op := b.add(journal.Activate, "shop-1", fmt.Sprint("code-", i))
			b.received(op, "attempt/1", fmt.Sprintf(`{"data":{"merchantId":"m-1","token":"token-%d"}}`, i))
		}
		b.run(5 * time.Second)
		for _, op := range b.j.ops {
			b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified")
		}
		if list := b.j.credentials(b.j.ops[0].Shop); len(list) != 2 || list[0].Version != 1 || list[1].Version != 2 {
			t.Errorf("credentials %+v", list)
		}
	})
}

// The tenth, the limit and the order of work.
func TestEngine_LimitIsKeptAndInvitationsGetATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.cfg.Accounts[0].Requests = 100
		began := time.Now()
		for i := range 400 {
			b.add(journal.Activate, fmt.Sprint("a-", i), fmt.Sprint("code-", i))
			b.add(journal.Invite, fmt.Sprint("i-", i), fmt.Sprintf("%d@example.com", i))
		}
		b.start()
		b.until(10*time.Minute, "settled", b.j.settled)
		b.finish()
		if took := time.Since(began); took > 8*31*time.Second {
			t.Errorf("800 calls at 100 in 30 s took %v", took)
		}
		var times []time.Time
		invites := 0
		for i, c := range b.api.calls {
			if c.op == invoicebox.Check {
				continue
			}
			times = append(times, c.at)
			if c.op == invoicebox.Invite && len(times) <= 100 {
				invites++
			}
			_ = i
		}
		for i := 100; i < len(times); i++ {
			if w := times[i].Sub(times[i-100]); w < 30*time.Second {
				t.Fatalf("101 requests within %v", w)
			}
		}
		if invites < 9 || invites > 20 {
			t.Errorf("%d invitations among the first 100 calls", invites)
		}
		for _, c := range b.j.claims() {
			if c.Limit > 100 || c.Limit < 1 {
				t.Errorf("a claim of %d", c.Limit)
			}
		}
		for _, s := range b.j.transitions() {
			if strings.HasSuffix(s, "claimed→planned") {
				t.Fatalf("claimed more than there were permits: %s", s)
			}
		}
	})
}

func TestEngine_AccountsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		slow := &fakeClient{script: good, latency: 29 * time.Second}
		b.cfg.Concurrency, b.cfg.EgressRequests = 8, 10_000
		b.cfg.Accounts = []Account{{Name: "slow", Client: slow, Requests: 10_000}, {Name: "default", Client: b.api, Requests: 10_000}}
		b.j.account("slow")
		for i := range 100 {
			b.addOf("slow", journal.Invite, fmt.Sprint("s-", i), fmt.Sprintf("%d@example.com", i))
		}
		b.start()
		time.Sleep(time.Second)
		for i := range 20 {
			b.add(journal.Invite, fmt.Sprint("f-", i), fmt.Sprintf("f%d@example.com", i))
		}
		b.until(2*time.Second, "done with the fast account", func() bool { return len(b.api.asked(invoicebox.Invite)) == 20 })
		if slow.peak != 6 {
			t.Errorf("the slow account had %d calls in flight, want its own 2 and the 4 shared", slow.peak)
		}
		b.until(time.Hour, "settled", b.j.settled)
		b.finish()
	})
}

// Slow commits of the journal must not leave calls' places empty.
func TestEngine_ConcurrencyIsUsedAndKept(t *testing.T) {
	for _, commit := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := newHarness(t, good)
			b.cfg.Concurrency, b.cfg.EgressRequests, b.cfg.Accounts[0].Requests = 10, 100_000, 100_000
			b.j.slow(commit)
			began := time.Now()
			for i := range 500 {
				b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i))
			}
			b.run(time.Minute)
			ideal := 2 * 500 / 10 * b.api.latency // a call and a check each
			took := time.Since(began)
			if b.api.peak != 10 {
				t.Errorf("%d calls in flight, want 10", b.api.peak)
			}
			share := float64(ideal) / float64(took)
			if share < 0.9 {
				t.Errorf("commits of %v: took %v, ideal is %v", commit, took, ideal)
			}
			t.Logf("commits of %v: %.3f of the ideal rate", commit, share)
		})
	}
}

func TestEngine_SlowCallsDoNotChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.api.latency = 29 * time.Second
		b.cfg.Concurrency = 4
		for i := range 40 {
			b.add(journal.Invite, fmt.Sprint("s-", i), fmt.Sprintf("%d@example.com", i))
		}
		b.run(30 * time.Minute)
		for _, op := range b.j.ops {
			b.expect(op, journal.Done, onboarding.ReasonSent, "invited sent")
		}
		if n := len(b.api.asked(invoicebox.Invite)); n != 40 {
			t.Errorf("%d calls for 40 invitations", n)
		}
	})
}

func TestEngine_Expired(t *testing.T) {
	for name, c := range map[string]struct {
		answers []answer // the last one again and again
		state   journal.State
		reason  onboarding.Reason
		event   string
	}{
		"never executed": {[]answer{{status: 425}}, journal.Done, onboarding.ReasonExpired, "activation_failed expired request_new_code true"},
		"in doubt":       {[]answer{{status: 503}, {status: 425}}, journal.Attention, onboarding.ReasonOutcomeUnknown, "activation_failed outcome_unknown contact_support false"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, func(_ invoicebox.Operation, _ string, n int) answer { return c.answers[min(n, len(c.answers)-1)] })
				b.cfg.MaximumAge = time.Hour
				op := b.add(journal.Activate, "shop-1", "code-1")
				b.run(2 * time.Hour)
				b.expect(op, c.state, c.reason, c.event)
			})
		})
	}
}

func TestEngine_ActiveShopIsNotInvited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.add(journal.Activate, "shop-1", "code-1")
		invite := b.add(journal.Invite, "shop-1", "a@example.com")
		b.run(time.Second)
		b.expect(invite, journal.Done, onboarding.ReasonAlreadyActive, "invited already_active")
		if n := len(b.api.asked(invoicebox.Invite)); n != 0 {
			t.Errorf("%d invitations", n)
		}
	})
}

// A store that is not ready costs no code, and holds no invitation.
func TestEngine_StoreNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		store := &flakyStore{Store: credentials.NewSealed(b.keys), ready: errors.New("sealed"), prepare: errors.New("down")}
		b.cfg.Credentials = store
		act := b.add(journal.Activate, "shop-1", "code-1")
		invite := b.add(journal.Invite, "shop-2", "a@example.com")
		b.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		b.expect(invite, journal.Done, onboarding.ReasonSent, "invited sent")
		if n := len(b.api.asked(invoicebox.Activate)); n != 0 {
			t.Fatalf("%d codes sent although the store is not ready", n)
		}
		store.ready = nil // and yet it fails when it comes to it
		b.until(time.Minute, "received", func() bool { s, _ := b.j.state(act); return s == journal.Received })
		time.Sleep(time.Minute)
		synctest.Wait()
		store.prepare = nil
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		b.expect(act, journal.Done, onboarding.ReasonActivated, "activated verified")
		if n := len(b.api.asked(invoicebox.Activate)); n != 1 {
			t.Errorf("the code was sent %d times", n)
		}
	})
}

// Another writer's secret in the store is met twice, some time apart, before a person
// has to look. The response stays, and is stored when the other secret is away.
func TestEngine_StoreConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		store := &flakyStore{Store: credentials.NewSealed(b.keys), prepare: fmt.Errorf("%w: secret/invoicebox/default/shop-1", credentials.ErrConflict)}
		b.cfg.Credentials = store
		act := b.add(journal.Activate, "shop-1", "code-1")
		other := b.add(journal.Activate, "shop-2", "code-2")
		b.start()
		b.until(time.Minute, "received", func() bool {
			s, r := b.j.state(act)
			return s == journal.Received && r == onboarding.ReasonVersionTaken
		})
		b.attention(act)
		b.attention(other)
		b.expect(act, journal.Attention, onboarding.ReasonStoreConflict, "activation_failed store_conflict contact_support false")
		b.act(act, onboarding.ActionReread, onboarding.ResultStoreConflict)
		b.ended(b.enters(act, "merchant-1", "hand-entered-token"), onboarding.ResultStoreConflict)
		if n := len(b.j.receipts(act)); n != 1 {
			t.Errorf("%d responses are kept", n)
		}
		store.prepare = nil
		b.act(act, onboarding.ActionReread, onboarding.ResultActivated)
		b.finish()
		b.expect(act, journal.Done, onboarding.ReasonActivated, "activation_failed store_conflict contact_support false", "activated verified")
		if n := len(b.api.asked(invoicebox.Activate)); n != 2 {
			t.Errorf("the codes were sent %d times", n)
		}
	})
}

type flakyStore struct {
	*credentials.Sealed
	Store          *credentials.Sealed
	ready, prepare error
}

func (f *flakyStore) Ready(ctx context.Context, shop journal.ShopKey) error {
	if f.ready != nil {
		return f.ready
	}
	return f.Store.Ready(ctx, shop)
}

func (f *flakyStore) Prepare(ctx context.Context, s credentials.Secret) (credentials.Prepared, error) {
	if f.prepare != nil {
		return credentials.Prepared{}, f.prepare
	}
	return f.Store.Prepare(ctx, s)
}
