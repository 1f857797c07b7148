package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// One address in events of three shops gets one e-mail within the cool-down,
// over a restart too; each shop's result is published when its own e-mail was
// sent, and another account has nothing to do with it.
func TestService_AddressCoolDownOverRealJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const victim, coolDown = "same@victim.example", time.Hour
		w := newWorld(t, 2, sandbox.Options{Profile: sandbox.Calm})
		w.change = func(c *engine.Config) { c.AddressCoolDown = coolDown }
		defer w.open()()
		w.boot()
		began := time.Now()
		invite := func(account, shop string) {
			w.ingest(w.eventFor(account, journal.Invite, shop, account+shop, victim))
			time.Sleep(time.Minute)
		}
		for i := range 3 {
			invite(accountName(0), fmt.Sprint("shop-", i))
		}
		invite(accountName(1), "shop-0")
		emails := func(account string) (at []time.Duration) {
			for _, c := range w.seen.of(account) {
				if c.op == invoicebox.Invite && c.value == victim {
					at = append(at, c.from.Sub(began).Round(time.Minute))
				}
			}
			return at
		}
		count := func() map[string]int {
			kinds := map[string]int{}
			for _, e := range w.publishedOnce() {
				kind := e.Type
				if data, ok := e.Data.(schemas.Invited); ok {
					kind = string(data.Outcome)
				}
				kinds[kind]++
			}
			return kinds
		}
		check := func(of []time.Duration, published map[string]int) {
			t.Helper()
			if got := emails(accountName(0)); !slices.Equal(got, of) {
				t.Errorf("e-mails of the account after %v, want %v", got, of)
			}
			if got := emails(accountName(1)); len(got) != 1 {
				t.Errorf("e-mails of the other account after %v", got)
			}
			if got := count(); !maps.Equal(got, published) {
				t.Errorf("published %v, want %v", got, published)
			}
		}
		// Two shops wait, of which nothing is published.
		check([]time.Duration{0}, map[string]int{"sent": 2})
		// A code is not held up by the invitation of its shop.
		w.ingest(w.eventFor(accountName(0), journal.Activate, "shop-2", "a", "code-1"))
		time.Sleep(time.Minute)
		active := map[string]int{"sent": 2, schemas.TypeActivated: 1, "already_active": 1}
		check([]time.Duration{0}, active)
		w.kill()
		w.boot()
		time.Sleep(coolDown / 2)
		check([]time.Duration{0}, active)
		time.Sleep(coolDown)
		active["sent"]++
		check([]time.Duration{0, coolDown}, active)
		w.halt()
	})
}
