package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// withOpenBao gives a harness a store outside of the journal for all secrets.
func (h *harness) withOpenBao() *memoryStore {
	bao := newMemoryStore()
	h.cfg.Credentials = credentials.NewStores(bao, nil, map[string]credentials.Store{schemas.StoreOpenBao: bao})
	return bao
}

// imports asks for the import of a shop.
func (h *harness) imports(shop, merchant, token string) *journal.Intent {
	h.t.Helper()
	i := journal.Intent{UUID: uuid.New(), At: time.Now(), Actor: "anna", Account: "default", Act: string(onboarding.ActionImport), MerchantID: merchant}
	h.j.ok(SealImport(h.keys, &i, Import{Shop: shop, Token: secret.New(token)}))
	var err error
	i.MAC, err = h.keys.Authenticate(keyset.DomainIntent, i.Authentic()...)
	h.j.ok(err)
	return h.j.append(i)
}

// An import that the journal refuses leaves no secret in the store, and the shop can be
// imported afterwards.
func TestImportShop_RefusedLeavesNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		bao := b.withOpenBao()
		other := b.add(journal.Activate, "shop-9", "code-9")
		b.start()
		b.settled()
		refused := b.ended(b.imports("shop-1", "m-code-9", "token-1"), onboarding.ResultMerchantConflict)
		if strings.Contains(refused.Detail, "operation") {
			t.Errorf("an import has no operation that waits: %s", refused.Detail)
		}
		shop := journal.ShopKey{Account: "default", Shop: "shop-1"}
		if list := bao.versions[shop]; len(list) != 1 || !list[0].Token.IsZero() {
			t.Errorf("the store has %d versions, or a token", len(list))
		}
		b.ended(b.imports("shop-1", "m-1", "token-1"), onboarding.ResultImported)
		if c, err := b.j.PublishedCredential(context.Background(), shop); err != nil || c.Reference == "" {
			t.Errorf("the credentials are %+v, %v", c, err)
		} else if kept, err := bao.Read(context.Background(), c); err != nil || kept.Token.Reveal() != "token-1" {
			t.Errorf("the reference has no token: %v", err)
		}
		b.finish()
		b.expect(other, journal.Done, onboarding.ReasonActivated, eventActive)
	})
}

// The secret of a refused import cannot be destroyed: the import ends all the same, and its
// result and the audit name the secret.
func TestImportShop_SecretNotDestroyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		bao := b.withOpenBao()
		b.add(journal.Activate, "shop-9", "code-9")
		b.start()
		b.settled()
		bao.lock(errors.New("the store is sealed"))
		began := time.Now()
		i := b.imports("shop-1", "m-code-9", "token-1")
		b.until(time.Hour, "ended", func() bool { return b.j.intent(i).State != journal.IntentWaiting })
		got := b.ended(i, onboarding.ResultSecretNotDestroyed)
		const ref = "ref+openbao://secret/invoicebox/default/shop-1?version=1"
		if !strings.Contains(got.Detail, "The action was refused: The merchant id is another shop's") || !strings.Contains(got.Detail, ref) {
			t.Errorf("the result is %s", got.Detail)
		}
		if took := got.Ended.Sub(began); took < DefaultVerifyFor || took > DefaultVerifyFor+time.Minute {
			t.Errorf("it ended after %v", took)
		}
		if notes := strings.Join(b.j.notes(), "\n"); !strings.Contains(notes, "import.refused secret_not_destroyed, merchant id m-code-9, merchant_conflict, "+ref) {
			t.Errorf("the audit is %s", notes)
		}
		shop := journal.ShopKey{Account: "default", Shop: "shop-1"}
		if list := bao.tokens(shop); len(list) != 1 {
			t.Errorf("the store has %d tokens", len(list))
		}
		// The store is away for less time: the secret is destroyed in the end.
		second := b.imports("shop-2", "m-code-9", "token-2")
		time.Sleep(DefaultVerifyFor / 2)
		bao.lock(nil)
		b.until(time.Hour, "ended", func() bool { return b.j.intent(second).State != journal.IntentWaiting })
		b.ended(second, onboarding.ResultMerchantConflict)
		if list := bao.tokens(journal.ShopKey{Account: "default", Shop: "shop-2"}); len(list) != 0 {
			t.Errorf("the store has %d tokens", len(list))
		}
		b.finish()
	})
}

// The journal commits the import of another worker, and refuses this one's: the secret is
// that worker's too.
func TestImportShop_SecretOfAnotherWorkerStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		bao := b.withOpenBao()
		b.j.fault = func(step string, done bool) error {
			if step == "ImportShop" && done {
				return journal.ErrStale // this worker's answer is lost, and it tries again
			}
			return nil
		}
		b.start()
		b.ended(b.imports("shop-1", "m-1", "token-1"), onboarding.ResultImported)
		if list := bao.versions[journal.ShopKey{Account: "default", Shop: "shop-1"}]; len(list) != 1 || list[0].Token.IsZero() {
			t.Errorf("the store has %d versions, or no token", len(list))
		}
		b.finish()
	})
}

// While the store or Invoicebox is away, imports end, and nothing else waits for them.
func TestImportShop_Away(t *testing.T) {
	for name, want := range map[string]onboarding.Result{"Invoicebox": onboarding.ResultTokenUnanswered, "store": onboarding.ResultStoreUnavailable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if op == invoicebox.Check && want == onboarding.ResultTokenUnanswered && strings.HasPrefix(value, "token-old") {
						return answer{status: 503}
					}
					return good(op, value, n)
				})
				bao := b.withOpenBao()
				if want == onboarding.ResultStoreUnavailable {
					bao.setFail(errors.New("the store is sealed"))
				}
				b.start()
				var list []*journal.Intent
				for k := range 160 {
					list = append(list, b.imports(fmt.Sprint("old-", k), fmt.Sprint("m-", k), fmt.Sprint("token-old-", k)))
				}
				began := time.Now()
				b.ended(b.j.ask(b.keys, journal.Intent{Act: string(onboarding.ActionPause)}, ""), onboarding.ResultPaused)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("the account is paused after %v", took)
				}
				b.until(2*time.Hour, "all ended", func() bool {
					for _, i := range list {
						if b.j.intent(i).State == journal.IntentWaiting {
							return false
						}
					}
					return true
				})
				b.ended(list[0], want)
				b.ended(list[159], want)
				if took := b.j.intent(list[0]).Ended.Sub(began); took < DefaultVerifyFor || took > DefaultVerifyFor+time.Minute {
					t.Errorf("the first one ended after %v", took)
				}
				b.finish()
			})
		})
	}
}
