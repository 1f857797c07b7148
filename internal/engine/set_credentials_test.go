package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// What was entered by hand is taken as an answer would have been.
func TestSetCredentials_EnteredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {lost, refusal(422)}, "code-0": {lost, lost}}))
		older := b.add(journal.Activate, "shop-1", "code-0")
		b.start()
		b.attention(older)
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.attention(op)
		calls := len(b.api.asked(invoicebox.Activate))
		b.ended(b.enters(op, "merchant-1", "hand-entered-token"), onboarding.ResultActivated)
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventLost, eventActive)
		b.expect(older, journal.Superseded, onboarding.ReasonNewerCode, eventUnknown)
		checked := b.api.asked(invoicebox.Check)
		if len(checked) != 1 || checked[0].value != "hand-entered-token" || len(b.api.asked(invoicebox.Activate)) != calls {
			t.Errorf("checked %+v", checked)
		}
		a := decoded(t, b.j.eventsOf(op)[1]).(schemas.Activated)
		got, err := credentials.NewSealed(b.keys).Open(b.j.credentials(op.Shop)[0])
		if err != nil || got.Token.Reveal() != "hand-entered-token" || got.MerchantID != "merchant-1" || a.MerchantID != "merchant-1" || a.Credentials.Version != 1 {
			t.Errorf("stored %v %q, announced %+v: %v", got.MerchantID, got.Token.Reveal(), a, err)
		}
		// It is known when an answer comes late after all.
		b.late(op, `{"data":{"merchantId":"merchant-1","token":"hand-entered-token"}}`)
		b.until(time.Hour, "compared", func() bool { return b.j.compared(op) })
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventLost, eventActive)
		b.late(op, body("code-1", "another"))
		b.attention(op)
		if strings.Contains(b.log.String(), "hand-entered-token") {
			t.Error("the token is in the log")
		}
		// Support says which one counts: it becomes a new version.
		b.ended(b.enters(op, "merchant-1", "another-token"), onboarding.ResultActivated)
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventLost, eventActive, "activation_failed second_token contact_support false", eventActive)
		if v := decoded(t, b.j.eventsOf(op)[3]).(schemas.Activated).Credentials.Version; v != 2 || b.j.record(op).Run != 3 {
			t.Errorf("version %d, run %d", v, b.j.record(op).Run)
		}
		if notes := strings.Join(b.j.notes(), "\n"); !strings.Contains(notes, "anna set-credentials.performed activated, merchant id merchant-1") || strings.Contains(notes, "token-") {
			t.Errorf("the audit is %s", notes)
		}
	})
}

// What cannot be taken leaves the operation where it is, with words.
func TestSetCredentials_TokenThatIsNotTaken(t *testing.T) {
	fits := func(b *harness, op *operation) *journal.Intent { return b.enters(op, "merchant-1", "token-1") }
	for name, c := range map[string]struct {
		check answer
		enter func(*harness, *operation) *journal.Intent
		want  onboarding.Result
		least time.Duration
	}{
		"refused":            {answer{status: 401}, fits, onboarding.ResultTokenRefused, 0},
		"nobody's":           {answer{status: 200, body: `{"data":{"userId":null}}`}, fits, onboarding.ResultTokenRefused, 0},
		"not answered":       {answer{status: 503}, fits, onboarding.ResultTokenUnanswered, DefaultVerifyFor},
		"another's merchant": {good(invoicebox.Check, "", 0), func(b *harness, op *operation) *journal.Intent { return b.enters(op, "m-code-9", "token-1") }, onboarding.ResultMerchantConflict, 0},
		"the partner's own":  {good(invoicebox.Check, "", 0), func(b *harness, op *operation) *journal.Intent { return b.enters(op, "merchant-1", "partners-own") }, onboarding.ResultOwnToken, 0},
		"the same as the id": {good(invoicebox.Check, "", 0), func(b *harness, op *operation) *journal.Intent { return b.enters(op, "same", "same") }, onboarding.ResultInvalid, 0},
		"a merchant too long": {good(invoicebox.Check, "", 0), func(b *harness, op *operation) *journal.Intent {
			return b.enters(op, strings.Repeat("m", 37), "token-1")
		}, onboarding.ResultInvalid, 0},
		"another keyset": {good(invoicebox.Check, "", 0), func(b *harness, op *operation) *journal.Intent {
			other, err := keyset.New()
			if err != nil {
				b.t.Fatal(err)
			}
			return b.j.ask(other, journal.Intent{Act: string(onboarding.ActionSetCredentials), Operation: op.UUID, MerchantID: "merchant-1"}, "token-1")
		}, onboarding.ResultUnreadable, 0},
		"no token": {good(invoicebox.Check, "", 0), func(b *harness, op *operation) *journal.Intent {
			return b.j.ask(b.keys, journal.Intent{Act: string(onboarding.ActionSetCredentials), Operation: op.UUID}, "")
		}, onboarding.ResultNotAuthentic, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				taken := answers(map[string][]answer{"code-1": {lost, refusal(422)}})
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if op == invoicebox.Check && value == "token-1" {
						return c.check
					}
					return taken(op, value, n)
				})
				b.cfg.Accounts[0].OwnToken = func() secret.String { return secret.New("partners-own") }
				other, op := b.add(journal.Activate, "shop-9", "code-9"), b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.attention(op)
				began := time.Now()
				i := c.enter(b, op)
				// What is asked for after it waits for it.
				closing := b.j.ask(b.keys, journal.Intent{Act: string(onboarding.ActionClose), Operation: op.UUID}, "")
				b.until(5*time.Minute, "both ended", func() bool { return b.j.intent(closing).State != journal.IntentWaiting })
				b.ended(i, c.want)
				b.ended(closing, onboarding.ResultClosed)
				if took := b.j.intent(i).Ended.Sub(began); took < c.least || took > c.least+time.Minute {
					t.Errorf("refused after %v", took)
				}
				b.finish()
				b.expect(op, journal.Done, onboarding.ReasonClosed, eventLost, eventClosed)
				b.expect(other, journal.Done, onboarding.ReasonActivated, eventActive)
				if len(b.j.credentials(op.Shop)) != 0 {
					t.Error("credentials were stored")
				}
			})
		})
	}
}

// A check that was not answered is made again; a store that is not ready is
// asked again; a stop in between only delays.
func TestSetCredentials_TokenIsTakenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		silent.Store(true)
		taken := answers(map[string][]answer{"code-1": {lost, refusal(422)}})
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			if op == invoicebox.Check && silent.Load() {
				return answer{status: 500}
			}
			return taken(op, value, n)
		})
		store := &closedStore{Store: b.cfg.Credentials}
		b.cfg.Credentials = store
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.attention(op)
		i := b.enters(op, "merchant-1", "token-1")
		time.Sleep(20 * time.Second)
		if n := len(b.api.asked(invoicebox.Check)); n < 3 || n > 6 {
			t.Errorf("%d checks in 20 s", n)
		}
		b.finish()
		b.start()
		time.Sleep(DefaultVerifyFor / 2)
		silent.Store(false)
		store.closed.Store(true)
		time.Sleep(DefaultVerifyFor / 2)
		if got := b.j.intent(i); got.State != journal.IntentWaiting {
			t.Fatalf("ended as %v (%s)", got.State, got.Result)
		}
		store.closed.Store(false)
		b.ended(i, onboarding.ResultActivated)
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventLost, eventActive)
	})
}

// While the store is away, an entered token waits as long as for Invoicebox, and is then
// refused. The operation still waits for a person, and the token can be entered again.
func TestSetCredentials_StoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-1": {lost, refusal(422)}}))
		store := &closedStore{Store: b.cfg.Credentials}
		b.cfg.Credentials = store
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.attention(op)
		store.closed.Store(true)
		began := time.Now()
		i := b.enters(op, "merchant-1", "token-1")
		b.until(time.Hour, "ended", func() bool { return b.j.intent(i).State != journal.IntentWaiting })
		got := b.ended(i, onboarding.ResultStoreUnavailable)
		if took := got.Ended.Sub(began); took < DefaultVerifyFor || took > DefaultVerifyFor+time.Minute || !strings.Contains(got.Detail, "still waits for a person") {
			t.Errorf("refused after %v: %s", took, got.Detail)
		}
		store.closed.Store(false)
		began = time.Now()
		b.ended(b.enters(op, "merchant-1", "token-1"), onboarding.ResultActivated)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the next action waited %v for one that had ended", took)
		}
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventLost, eventActive)
	})
}

// A secret that was stored for an action that is refused then stays, because an action on
// the same operation can have committed it. The result names it.
func TestSetCredentials_RefusedNamesSecret(t *testing.T) {
	for name, c := range map[string]struct {
		newer  bool // a newer code succeeds before the commit
		want   onboarding.Result
		tokens int
	}{
		"MerchantConflict": {false, onboarding.ResultMerchantConflict, 1},
		"MovedOn":          {true, onboarding.ResultMovedOn, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, answers(map[string][]answer{"code-1": {lost, refusal(422)}}))
				bao := b.withOpenBao()
				held := &heldAction{testJournal: b.j, reached: make(chan struct{}), pass: make(chan struct{})}
				b.cfg.Journal = held
				other := b.add(journal.Activate, "shop-9", "code-9")
				op := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.attention(op)
				b.until(time.Minute, "the other is active", func() bool { s, _ := b.j.state(other); return s == journal.Done })
				i := b.enters(op, map[bool]string{true: "m-code-2", false: "m-code-9"}[c.newer], "token-1")
				<-held.reached
				if c.newer {
					newer := b.add(journal.Activate, "shop-1", "code-2")
					b.until(time.Minute, "the newer is active", func() bool { s, _ := b.j.state(newer); return s == journal.Done })
				}
				close(held.pass)
				b.until(time.Hour, "ended", func() bool { return b.j.intent(i).State != journal.IntentWaiting })
				got := b.ended(i, c.want)
				if !strings.Contains(got.Detail, "ref+openbao://secret/invoicebox/default/shop-1?version=1.") {
					t.Errorf("the result is %s", got.Detail)
				}
				if list := bao.tokens(op.Shop); len(list) != c.tokens {
					t.Errorf("the store has %d tokens, want %d", len(list), c.tokens)
				}
				b.finish()
			})
		})
	}
}

// heldAction commits operator actions only when they may pass.
type heldAction struct {
	*testJournal
	once          sync.Once
	reached, pass chan struct{}
}

func (h *heldAction) Apply(ctx context.Context, t journal.Transition) error {
	if t.Intent != nil {
		h.once.Do(func() { close(h.reached) })
		<-h.pass
	}
	return h.testJournal.Apply(ctx, t)
}

type closedStore struct {
	Store
	closed atomic.Bool
}

func (s *closedStore) Prepare(ctx context.Context, in credentials.Secret) (credentials.Prepared, error) {
	if s.closed.Load() {
		return credentials.Prepared{}, errors.New("the store is sealed")
	}
	return s.Store.Prepare(ctx, in)
}

func TestSetCredentials_CheckEntered(t *testing.T) {
	for _, c := range []struct {
		merchant, token string
		ok              bool
	}{
		{"merchant-1", "token-1", true},
		{"ffffffff-ffff-ffff-ffff-ffffffffffff", strings.Repeat("t", 512), true},
		{"", "token-1", false}, {"merchant-1", "", false}, {"merchant 1", "token-1", false}, {"merchant-1", "to ken", false},
		{"merchant-1", "token\x00", false}, {"merchant-1", "token\n", true}, {"merchant-1", "\xff\xfe", false}, {"\xff", "token-1", false},
		{"merchant-1", strings.Repeat("t", 4097), false}, {strings.Repeat("m", 37), "token-1", false}, {"token-1", "token-1", false},
	} {
		err := ValidateEntered(c.merchant, secret.New(c.token))
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.merchant, err)
		}
		if err != nil && len(c.token) > 3 && strings.Contains(err.Error(), c.token) {
			t.Errorf("the error holds the token: %v", err)
		}
	}
}

// Intents that cannot be checked now are not read, and those of their queue wait. As many
// are read as can be checked, the oldest first, and the time until an import gives up begins
// with its first check.
func TestTokenEntries_Skip(t *testing.T) {
	now := time.Now()
	e := newTokenEntries()
	list := make([]journal.PendingIntent, 20)
	for k := range list {
		list[k] = journal.PendingIntent{Intent: journal.Intent{ID: int64(k + 1), Act: string(onboarding.ActionDisconnect), Account: "a", Shop: fmt.Sprint(k + 1)}}
		e.begin(list[k], now)
	}
	skip, queues := e.skip(now)
	if len(skip) != 20 || !queues["a/1"] || !queues["a/20"] {
		t.Errorf("while %d run, %v are skipped, and %v wait", maxConcurrentEntries, skip, queues)
	}
	later := now.Add(time.Minute)
	e.end(1, false, later)
	e.end(2, false, later)
	skip, queues = e.skip(later) // 1 and 2 are not due again, two others can begin
	if len(skip) != 18 || slices.Contains(skip, 9) || slices.Contains(skip, 10) || queues["a/9"] || !queues["a/1"] {
		t.Errorf("after two have ended, %v are skipped, and %v wait", skip, queues)
	}
	if since, ok := e.begin(list[8], later); !ok || !since.Equal(later) {
		t.Errorf("the first check of 9 was at %v, not %v", since, later)
	}
	e.keep(skip, list[9:10]) // all but 9, which runs, were skipped or are there
	if len(e.list) != 20 {
		t.Errorf("%d entries are left, not 20", len(e.list))
	}
	e.end(9, false, later)
	e.keep(skip, nil) // 9 and 10 have ended
	if _, ok := e.list[9]; ok || len(e.list) != 18 {
		t.Errorf("%d entries are left, not 18", len(e.list))
	}
	e.end(3, true, later)
	if skip, queues = e.skip(later); slices.Contains(skip, 3) || queues["a/3"] {
		t.Error("an intent waits for one that has ended")
	}
}
