package engine_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/invoicebox/sandbox"
)

// Three accounts with more to do than the one address may: its limit is kept
// and used, checks of new tokens included; all accounts get their part; and in
// each of them activations go first while invitations keep a tenth.
func TestEgress_OneAddressForAllAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts, limit, egress, each, minutes = 3, 100, 90, 150, 4
		w := newWorld(t, accounts, sandbox.Options{Profile: sandbox.Calm, Latency: 100 * time.Millisecond, EgressPerWindow: egress, CountAt: sandbox.CountBetween})
		w.change = func(o *engine.Config) { o.EgressRequests = egress }
		defer w.open()()
		w.boot()
		for a := range accounts {
			var events []journal.Event
			for i := range each {
				shop := fmt.Sprint("shop-", i)
				events = append(events,
					w.eventFor(accountName(a), journal.Activate, shop+"-a", fmt.Sprintf("a%d/%d", a, i), fmt.Sprintf("code-%d-%d", a, i)),
					w.eventFor(accountName(a), journal.Invite, shop+"-i", fmt.Sprintf("i%d/%d", a, i), fmt.Sprintf("s%d-%d@example.com", a, i)))
			}
			w.ingest(events...)
		}
		began := time.Now()
		time.Sleep(minutes * time.Minute)
		w.kill()
		checkWindows(t, w, limit, egress)
		for _, load := range w.box.Windows().IPs {
			if load.Exceeded != 0 || load.Limited != 0 {
				t.Errorf("the server's count of the address: %+v", load)
			}
		}
		var out time.Duration
		first, last := began.Add(engine.DefaultWindow), began.Add(minutes*time.Minute)
		for _, call := range w.seen.of("") {
			from, to := call.from, call.to.Add(engine.DefaultWindow)
			if from.Before(first) {
				from = first
			}
			if to.After(last) {
				to = last
			}
			out += max(0, to.Sub(from))
		}
		share := out.Seconds() / (egress * last.Sub(first).Seconds())
		t.Logf("%.2f %% of what the address may is used", 100*share)
		if share < 0.99 {
			t.Errorf("%.2f %% of what the address may is used", 100*share)
		}
		total := 0
		var parts [accounts]int
		for a := range accounts {
			invitations := 0
			for i, call := range w.seen.of(accountName(a)) {
				if call.from.After(first) { // before it the first to come had all
					total++
					parts[a]++
				}
				if call.op == invoicebox.Invite {
					invitations++
				}
				// Early on the checks of new tokens may use up what invitations wanted; they make up for it.
				if n := i + 1; n >= 100 && n <= each && (invitations < n/10-5 || invitations > n/10+10) {
					t.Fatalf("%s: %d invitations among the first %d calls", accountName(a), invitations, n)
				}
			}
		}
		for a, n := range parts {
			if n < total/accounts*8/10 {
				t.Errorf("%s made %d of %d calls", accountName(a), n, total)
			}
		}
		t.Logf("calls %v", parts)
	})
}
