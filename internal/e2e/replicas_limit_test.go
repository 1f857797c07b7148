package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A pace is how fast a test of the limit goes, and how it times its workers.
type pace struct {
	limit, cycles                 int // permits; how often they are used up
	window, latency               time.Duration
	deadline, lease, slack, quiet time.Duration
	atLeast                       float64 // of what could be used
}

// fullPace has the API's own window and the worker's own times; see doc.go.
func fullPace() bool { return os.Getenv("INVOICEBOX_TEST_LIMIT") == "full" }

func paceOf() pace {
	if fullPace() {
		return pace{100, 14, 30 * time.Second, 400 * time.Millisecond, 30 * time.Second, 60 * time.Second, 60 * time.Second, 2 * time.Minute, 0.97}
	}
	// On a machine with too much to do a cycle of seconds is late by a large part.
	return pace{100, 8, 4 * time.Second, 200 * time.Millisecond, time.Second, 2 * time.Second, time.Second, 2 * time.Second, 0.6}
}

// cycle is the time in which every permit is used once and comes back.
func (p pace) cycle() time.Duration { return p.window + p.latency }

// share is how much of what the limit allows was used, after the first window:
// the request that is so many cycles' permits behind another came so much later.
func (p pace) share(requests []time.Time) float64 {
	slices.SortFunc(requests, time.Time.Compare)
	cycles := len(requests)/p.limit - 1
	var sum time.Duration
	for i := range p.limit {
		sum += requests[i+cycles*p.limit].Sub(requests[i])
	}
	return float64(cycles*p.limit) * float64(p.cycle()) / float64(sum)
}

// Three replicas keep the limit together, by the sandbox's own count, and use it
// up, also while one of them is killed, stopped, or frozen for longer than its
// lease, and others are started.
func TestTheLimitIsKeptByReplicas(t *testing.T) {
	t.Parallel()
	l := threeReplicas(t)
	for _, disturbed := range []bool{false, true} {
		t.Run(map[bool]string{false: "at peace", true: "coming and going"}[disturbed], func(t *testing.T) {
			t.Parallel()
			limitKept(t, l, paceOf(), disturbed)
		})
	}
}

func limitKept(t *testing.T, l layout, p pace, disturbed bool) {
	t.Helper()
	r := newRig(t, kafkatest.Embedded(t), sandbox.Options{Profile: sandbox.Calm, Latency: p.latency, RequestsPerWindow: p.limit, Window: p.window, EgressPerWindow: -1},
		"--requests-per-window", fmt.Sprint(p.limit), "--window", p.window.String(), "--egress-requests-per-window", "1000000",
		"--request-deadline", p.deadline.String(), "--lease", p.lease.String(), "--slack", p.slack.String(), "--quiet-period", p.quiet.String())
	l.place(r)
	workers := r.startAll(l.replicas)
	names := shopNames("shop", p.limit*(p.cycles+2))
	r.selected(names...)
	r.awaitResults(schemas.TypeInvited, p.limit/2, time.Minute)
	began := time.Now()
	var kills []time.Time
	if disturbed {
		kills = r.disturb(workers, p)
	}
	requests := func() int { return r.sandbox.Windows().Accounts[0].Requests }
	patience := 2*time.Duration(p.cycles)*p.cycle() + time.Minute
	await(t, patience, "the permits were used up often enough", func() bool { return requests() >= p.limit*p.cycles })
	t.Logf("%d requests after %v", requests(), time.Since(began).Round(time.Millisecond))
	r.terminateAll(workers)

	for _, load := range r.sandbox.Windows().Accounts {
		t.Logf("%d requests, the most in a window %d, answered 429: %d", load.Requests, load.Peak, load.Limited)
		if load.Peak > p.limit || load.Exceeded != 0 || load.Limited != 0 {
			t.Errorf("the limit of %d was broken: %+v", p.limit, load)
		}
	}
	if overlaps := r.sandbox.Effects().Overlaps; overlaps != 0 {
		t.Errorf("%d requests for one subject were under way at once", overlaps)
	}
	var times []time.Time
	inFlight := 0
	for _, q := range r.sandbox.Requests() {
		if q.Account == "" {
			continue
		}
		times = append(times, q.Time)
		for _, at := range kills {
			if q.Time.Before(at) && (q.Answered.IsZero() || at.Before(q.Answered)) {
				inFlight++
			}
		}
	}
	// The permit of a request that died with its worker comes back later, by the
	// deadline and the slack: until then nobody knows where it is.
	share := p.share(times)
	kept := float64(inFlight) * float64(p.deadline+p.slack) / float64(p.cycle()) / float64(len(times))
	t.Logf("%.2f %% of what the limit allows was used; %d requests were in flight when a replica was killed, whose permits are %.2f %%", 100*share, inFlight, 100*kept)
	if share+kept < p.atLeast {
		t.Errorf("%.2f %% of what the limit allows was used", 100*share)
	}
}

// disturb kills, stops and freezes replicas, one after the other, starts others,
// and returns when it killed.
func (r *rig) disturb(workers []*worker, p pace) (kills []time.Time) {
	r.t.Helper()
	seed := uint64(time.Now().UnixNano())
	r.t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 7)) // #nosec G404 -- moments of a test
	for n := range 2 * len(workers) {
		pause(time.Duration(rnd.Int64N(int64(p.cycle()))))
		w := &workers[n%len(workers)]
		switch n % 3 {
		case 0:
			kills = append(kills, time.Now())
			(*w).kill()
			*w = r.start()
		case 1:
			if code, _ := (*w).terminate(p.deadline + 10*time.Second); code != 0 {
				r.t.Errorf("exit status %d after SIGTERM", code)
			}
			*w = r.start()
		case 2:
			kills = append(kills, time.Now()) // what it has in flight is answered to nobody
			(*w).signal(syscall.SIGSTOP)
			pause(p.lease + p.slack)
			(*w).signal(syscall.SIGCONT)
		}
	}
	return kills
}
