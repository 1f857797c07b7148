package engine_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
)

// Fifty accounts with the usual limits behind one address. Forty-seven have
// steady traffic; of the other three one is paused, one is limited and one
// has three thousand operations, all at once. How long the steady ones wait from
// due to sent is compared with a run without those three.
func TestFairness_BadAccountSlowsNoOther(t *testing.T) {
	if testing.Short() {
		t.Skip("it is for its figures")
	}
	var quiet, noisy []time.Duration
	t.Run("without the bad ones", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { quiet = steadyWaits(t, false) })
	})
	t.Run("with them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { noisy = steadyWaits(t, true) })
	})
	if len(quiet) == 0 || len(quiet) != len(noisy) {
		t.Fatalf("%d and %d operations were sent", len(quiet), len(noisy))
	}
	mean := func(list []time.Duration) (sum time.Duration) {
		for _, d := range list {
			sum += d
		}
		return sum / time.Duration(len(list))
	}
	for _, c := range []struct {
		what         string
		quiet, noisy time.Duration
		bound        float64
	}{
		{"mean", mean(quiet), mean(noisy), 1.25},
		{"median", quantile(quiet, .5), quantile(noisy, .5), 1.1},
		{"99th percentile", quantile(quiet, .99), quantile(noisy, .99), 1.5},
	} {
		ratio := float64(c.noisy) / float64(c.quiet)
		t.Logf("%s: %v alone, %v beside the bad ones: %.2f times", c.what, c.quiet, c.noisy, ratio)
		if ratio > c.bound {
			t.Errorf("%s: %.2f times as long, at most %.2f", c.what, ratio, c.bound)
		}
	}
	// An account has one place of its own here; whoever has two operations at the
	// same moment shares with the flooded one.
	longest := noisy[len(noisy)-1]
	t.Logf("longest: %v alone, %v beside the bad ones", quiet[len(quiet)-1], longest)
	if longest > steadyLatency+50*time.Millisecond {
		t.Errorf("the longest wait is %v", longest)
	}
}

const steadyLatency = 200 * time.Millisecond // of a call

// steadyWaits tells how long the operations of the steady accounts waited.
func steadyWaits(t *testing.T, bad bool) []time.Duration {
	const accounts, paused, limited, flooded, every, length = 50, 0, 1, 2, 6 * time.Second, time.Minute
	w := newWorld(t, accounts, sandbox.Options{Profile: sandbox.Calm})
	r := rand.New(rand.NewPCG(7, 7))
	w.serve = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			if strings.HasSuffix(q.Header.Get("Authorization"), w.accounts[limited].Token) {
				rw.Header().Set("Retry-After", "5")
				rw.WriteHeader(http.StatusTooManyRequests)
				return
			}
			time.Sleep(steadyLatency)
			next.ServeHTTP(rw, q)
		})
	}
	w.change = func(o *engine.Config) {
		o.EgressRequests = 0 // as usual
		o.Journal = slowJournal{o.Journal, 5 * time.Millisecond}
	}
	defer w.open()()
	w.boot()
	invite := func(account int, n int) journal.Event {
		return w.eventFor(accountName(account), journal.Invite, fmt.Sprint("shop-", n), fmt.Sprintf("%d/%d", account, n), fmt.Sprintf("s%d-%d@example.com", account, n))
	}
	if bad {
		if err := w.j.SetCircuit(t.Context(), accountName(paused), journal.Circuit{State: journal.CircuitPaused, Reason: "a person", Since: time.Now()}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // the engine has noticed
		for account, n := range map[int]int{paused: 500, limited: 500, flooded: 3000} {
			for i := 0; i < n; i += 100 {
				var batch []journal.Event
				for k := range 100 {
					batch = append(batch, invite(account, i+k))
				}
				w.ingest(batch...)
			}
		}
	} else {
		time.Sleep(10 * time.Second)
	}
	// The steady ones: each account on its own, in the same order in every run.
	type arrival struct {
		after time.Duration
		e     journal.Event
	}
	var arrivals []arrival
	for account := flooded + 1; account < accounts; account++ {
		n := 0
		for at := time.Duration(r.Int64N(int64(every))); at < length; at += time.Duration(r.ExpFloat64() * float64(every)) {
			n++
			arrivals = append(arrivals, arrival{at, invite(account, n)})
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return int(a.after - b.after) })
	due, began := map[string]time.Time{}, time.Now()
	for _, a := range arrivals {
		time.Sleep(time.Until(began.Add(a.after)))
		due[a.e.Shop.Account+"/"+a.e.ID] = time.Now()
		w.ingest(a.e)
	}
	time.Sleep(time.Minute)
	w.kill()
	var waits []time.Duration
	bads := map[string]int{}
	for _, call := range w.seen.of("") {
		var account, n int
		if _, err := fmt.Sscanf(call.value, "s%d-%d@", &account, &n); err != nil || account <= flooded {
			bads[call.account]++
			continue
		}
		waits = append(waits, call.from.Sub(due[fmt.Sprintf("%s/%d/%d", call.account, account, n)]))
	}
	slices.Sort(waits)
	if bad {
		t.Logf("calls of the bad ones: %v", bads)
		if bads[accountName(paused)] != 0 || bads[accountName(limited)] < 2 || bads[accountName(flooded)] < 300 {
			t.Errorf("the bad ones are not bad: %v", bads)
		}
	}
	return waits
}
