package engine_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
)

// When there is work an account uses what it may: at least 99 % of limit ÷
// (window + mean latency) after the first window, whatever the latency, and no
// placement of the server's count finds more than the limit in a window.
func TestRateLimit_LimitIsUsed(t *testing.T) {
	tail := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	for _, c := range []struct {
		name    string
		latency func() time.Duration
		commit  time.Duration // what each write of the journal takes
	}{
		{"no latency", func() time.Duration { return 0 }, 0},
		{"50 ms", func() time.Duration { return 50 * time.Millisecond }, 0},
		{"50 ms, a slow disk", func() time.Duration { return 50 * time.Millisecond }, 10 * time.Millisecond},
		{"2 s", func() time.Duration { return 2 * time.Second }, 0},
		{"a long tail", func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return min(time.Duration(40*float64(time.Millisecond)/(1-tail.Float64())), 20*time.Second)
		}, 0},
	} {
		if testing.Short() && c.commit == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const limit, windows = 100, 8
				w := newWorld(t, 1, sandbox.Options{Profile: sandbox.Calm, EgressPerWindow: -1})
				w.serve = func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						time.Sleep(c.latency())
						next.ServeHTTP(rw, r)
					})
				}
				w.change = func(o *engine.Config) {
					if c.commit > 0 {
						o.Journal = slowJournal{o.Journal, c.commit}
					}
				}
				defer w.open()()
				w.boot()
				var events []journal.Event
				for i := range limit * (windows + 3) {
					events = append(events, w.event(journal.Invite, fmt.Sprint("shop-", i), fmt.Sprint("i", i), fmt.Sprintf("s%d@example.com", i)))
				}
				began := time.Now()
				for len(events) > 0 {
					n := min(100, len(events))
					w.ingest(events[:n]...)
					events = events[n:]
				}
				time.Sleep((windows + 3) * engine.DefaultWindow)
				w.kill()
				// Each call has a permit for its latency and one window, so the mean
				// number of permits that are out, of limit, is the share of what is
				// allowed, and does not depend on where in a burst the measure ends.
				first, last := began.Add(engine.DefaultWindow), began.Add((windows+1)*engine.DefaultWindow)
				var latency, out time.Duration
				calls := w.seen.of("default")
				for _, call := range calls {
					latency += call.to.Sub(call.from)
					from, to := call.from, call.to.Add(engine.DefaultWindow)
					if from.Before(first) {
						from = first
					}
					if to.After(last) {
						to = last
					}
					out += max(0, to.Sub(from))
				}
				share := out.Seconds() / (limit * last.Sub(first).Seconds())
				t.Logf("mean latency %v: %d calls, %.2f %% of what is allowed", latency/time.Duration(len(calls)), len(calls), 100*share)
				if share < 0.99 {
					t.Errorf("%.2f %% of what is allowed was used", 100*share)
				}
				checkWindows(t, w, limit, 1_000_000)
			})
		})
	}
}

// checkWindows asks the server and then every placement of its count.
func checkWindows(t *testing.T, w *world, limit, egress int) {
	t.Helper()
	report := w.box.Windows()
	for i, load := range report.Accounts {
		if load.Exceeded != 0 || load.Limited != 0 || load.Peak > limit {
			t.Errorf("the server's count of %s: %+v", accountName(i), load)
		}
		if n := worst(w.seen.of(accountName(i)), engine.DefaultWindow, engine.DefaultSlack); n > limit {
			t.Errorf("%s: some placement of the count puts %d requests into a window", accountName(i), n)
		}
	}
	if n := worst(w.seen.of(""), engine.DefaultWindow, engine.DefaultSlack); n > egress {
		t.Errorf("egress: some placement of the count puts %d requests into a window", n)
	}
}
