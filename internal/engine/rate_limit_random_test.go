package engine_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
)

// codeWords and addressWords make the sandbox answer as the word says; "" is good.
var (
	codeWords    = []string{"", "", "", "", "rejected-", "limited-1-", "error503-1-", "error500-", "lost-answer-", "reset-", "pending-token-1-", "slow-"}
	addressWords = []string{"", "", "", "", "rejected-", "limited-1-", "error503-1-", "error500-", "reset-", "slow-"}
)

// Random traffic of three accounts that share one address, with refusals, 429,
// 503, faults, lost answers, probes, checks of tokens, drains and kills: no
// window of an account or of the address ever holds more than its limit, by the
// server's count and by any other placement of it.
func TestRateLimit_NoWindowIsEverOver(t *testing.T) {
	requests, kills := 0, 0
	for seed := range ledgerSeeds(t) {
		for _, at := range []sandbox.CountAt{sandbox.CountAtArrival, sandbox.CountBetween, sandbox.CountAtAnswer} {
			if testing.Short() && at != sandbox.CountBetween {
				continue
			}
			t.Run(fmt.Sprintf("seed %d %s", seed, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n, k := randomTraffic(t, rand.New(rand.NewPCG(seed, uint64(len(at)))), at)
					requests, kills = requests+n, kills+k
				})
			})
		}
	}
	t.Logf("%d requests, %d kills", requests, kills)
}

// ledgerSeeds is how many seeds are tried: one, or INVOICEBOX_LEDGER_SEEDS.
func ledgerSeeds(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("INVOICEBOX_LEDGER_SEEDS")
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal("INVOICEBOX_LEDGER_SEEDS: ", err)
	}
	return n
}

func randomTraffic(t *testing.T, r *rand.Rand, at sandbox.CountAt) (requests, kills int) {
	const accounts, limit, egress = 3, 20, 45
	length := 5 * time.Minute
	if testing.Short() {
		length = 2 * time.Minute
	}
	w := newWorld(t, accounts, sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: limit, EgressPerWindow: egress, CountAt: at, Seed: r.Uint64()})
	var mu sync.Mutex
	drawn := rand.New(rand.NewPCG(r.Uint64(), 1)) // the server's own
	delay := func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(drawn.ExpFloat64() * float64(300*time.Millisecond))
	}
	w.serve = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			// Before and after the sandbox, so that its count lies anywhere between.
			time.Sleep(delay())
			next.ServeHTTP(rw, q)
			time.Sleep(delay())
		})
	}
	w.change = func(o *engine.Config) {
		o.EgressRequests = egress
		for i := range o.Accounts {
			o.Accounts[i].Requests = limit
		}
	}
	defer w.open()()
	w.boot()
	sent := 0
	end := time.Now().Add(length)
	nextKill := time.Now().Add(time.Duration(r.IntN(90)) * time.Second)
	for time.Now().Before(end) {
		var events []journal.Event
		for range r.IntN(12) {
			sent++
			account, shop := accountName(r.IntN(accounts)), fmt.Sprint("shop-", r.IntN(200))
			if r.IntN(2) == 0 {
				events = append(events, w.eventFor(account, journal.Activate, shop, fmt.Sprint("e", sent), fmt.Sprintf("%s%d", codeWords[r.IntN(len(codeWords))], sent)))
			} else {
				events = append(events, w.eventFor(account, journal.Invite, shop, fmt.Sprint("e", sent), fmt.Sprintf("%s%d@example.com", addressWords[r.IntN(len(addressWords))], sent)))
			}
		}
		if len(events) > 0 {
			w.ingest(events...)
		}
		time.Sleep(time.Duration(r.IntN(8000)) * time.Millisecond)
		if time.Now().After(nextKill) {
			if r.IntN(3) == 0 {
				w.halt()
			} else {
				w.kill()
				kills++
			}
			time.Sleep(time.Duration(r.IntN(40)) * time.Second)
			w.boot()
			nextKill = time.Now().Add(time.Duration(20+r.IntN(120)) * time.Second)
		}
	}
	w.calm(time.Hour)
	w.halt()
	checkWindows(t, w, limit, egress)
	for _, load := range w.box.Windows().IPs {
		if load.Exceeded != 0 || load.Limited != 0 || load.Peak > egress {
			t.Errorf("the server's count of the address: %+v", load)
		}
	}
	return len(w.seen.of("")), kills
}

// calm waits, in virtual time, until no operation is open.
func (w *world) calm(limit time.Duration) {
	w.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Second) {
		stats, err := w.j.Stats(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		open := int64(0)
		for k, n := range stats.Operations {
			if k.State.Open() {
				open += n
			}
		}
		if open == 0 {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("after %v: %v", limit, stats.Operations)
		}
	}
}
