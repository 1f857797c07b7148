package e2e

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// Three workers over a database that Patroni and etcd keep available, with a synchronous
// standby. Under load the primary is switched over, killed, frozen until another one has
// taken over, and cut off from all others until then. Each time work resumes without an
// operator; nothing is lost, nothing is sent twice, and no window is over the limit.
func TestPatroni(t *testing.T) {
	if os.Getenv("INVOICEBOX_TEST_PATRONI") == "" {
		t.Skip("INVOICEBOX_TEST_PATRONI is not set")
	}
	const (
		limit  = 100
		window = 5 * time.Second
		every  = 120 * time.Millisecond // a shop is invited and activated: two requests of the 20 in a second
	)
	db := pgtest.StartPatroni(t)
	r := newRig(t, kafkatest.Embedded(t), sandbox.Options{Profile: sandbox.Calm, Latency: 50 * time.Millisecond, RequestsPerWindow: limit, Window: window, EgressPerWindow: -1},
		"--requests-per-window", fmt.Sprint(limit), "--window", window.String(), "--egress-requests-per-window", "1000000",
		"--request-deadline", "5s", "--lease", "10s", "--slack", "2s", "--quiet-period", "5s")
	r.journal = db.URL(t, "journal")
	workers := r.startAll(3)

	done := make(chan struct{})
	var load sync.WaitGroup
	var shops []string
	load.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			shop := fmt.Sprintf("shop-%05d", len(shops))
			shops = append(shops, shop)
			r.selected(shop)
			r.entered(shop)
		}
	})
	pause(2 * window)
	type fault struct {
		name               string
		from, over, onward time.Time // it began; another server is the primary; the workers go on
	}
	var faults []fault
	during := func(name string, f func()) {
		db.AwaitHealthy(t)
		pause(2 * window)
		from, before := time.Now(), db.Primary()
		f()
		await(t, 2*time.Minute, "another primary", func() bool { p := db.Primary(); return p != "" && p != before })
		over, at := time.Now(), len(r.sandbox.Requests())
		await(t, 2*time.Minute, "requests go on", func() bool { return len(r.sandbox.Requests()) > at+limit })
		faults = append(faults, fault{name, from, over, time.Now()})
	}
	var back func()
	during("switched over", func() { db.Switch(t) })
	during("killed", func() { back = db.KillPrimary(t) })
	back()
	during("frozen", func() { back = db.FreezePrimary(t) })
	back()
	if err := db.CanCut(); err != nil {
		t.Logf("the primary is not cut off from the others: %v", err)
	} else {
		during("cut off", func() { back = db.CutPrimary(t) })
		back()
	}
	during("switched over again", func() { db.Switch(t) })
	close(done)
	load.Wait()
	await(t, 3*time.Minute, "nothing is left to do", func() bool { return r.idle(workers[0], 2*len(shops)) })

	for _, w := range workers {
		if w.ended() {
			t.Errorf("a worker has ended: %v\n%s", w.err, w.log.tail(4<<10))
		}
	}
	times := []time.Time{}
	for _, q := range r.sandbox.Requests() {
		if q.Account != "" {
			times = append(times, q.Time)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	for _, f := range faults {
		t.Logf("primary %s: another one after %v; no request for %v", f.name, f.over.Sub(f.from).Round(100*time.Millisecond), longestGap(times, f.from, f.onward).Round(100*time.Millisecond))
	}
	for _, load := range r.sandbox.Windows().Accounts {
		t.Logf("%d shops, %d requests, the most in a window %d", len(shops), load.Requests, load.Peak)
		if load.Peak > limit || load.Exceeded != 0 || load.Limited != 0 {
			t.Errorf("the limit of %d was broken: %+v", limit, load)
		}
	}
	for _, typ := range []string{schemas.TypeInvited, schemas.TypeActivated} {
		if got := distinct(r.results(typ)); got != len(shops) {
			t.Errorf("%d different %s for %d shops", got, typ, len(shops))
		}
	}
	if list := r.operations("--attention"); len(list) != 0 {
		t.Errorf("%d operations need a decision: %+v", len(list), list[0])
	}
	t.Logf("requests made in doubt: %v", r.judge())
	r.terminateAll(workers)
}

// longestGap is the longest time without a request between two moments.
func longestGap(times []time.Time, from, to time.Time) (longest time.Duration) {
	last := from
	for _, at := range times {
		if at.Before(from) {
			continue
		}
		if at.After(to) {
			break
		}
		longest = max(longest, at.Sub(last))
		last = at
	}
	return max(longest, to.Sub(last))
}
