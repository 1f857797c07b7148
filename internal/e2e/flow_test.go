package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// calm is a sandbox that only does what it is asked for, with the limits
// lifted; the worker's have to be lifted to match.
func calm(latency time.Duration) sandbox.Options {
	return sandbox.Options{Profile: sandbox.Calm, Latency: latency, RequestsPerWindow: -1, EgressPerWindow: -1}
}

func lifted(more ...string) []string {
	return append([]string{"--requests-per-window", "1000000", "--egress-requests-per-window", "1000000"}, more...)
}

// shopsOfATest is how many shops a test has: so many, or INVOICEBOX_TEST_SHOPS.
func shopsOfATest(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("INVOICEBOX_TEST_SHOPS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 100 {
		t.Fatalf("INVOICEBOX_TEST_SHOPS is %q, and not a number from 100", text)
	}
	return n
}

// Every shop is invited and activated once; the same events again change nothing.
func TestEveryShopIsActivatedOnce(t *testing.T) { everyShop(t, alone()) }

// The same with three replicas.
func TestEveryShopIsActivatedOnceByReplicas(t *testing.T) {
	t.Parallel()
	everyShop(t, threeReplicas(t))
}

func everyShop(t *testing.T, l layout) {
	t.Helper()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		r := newRig(t, c, calm(0), lifted()...)
		l.place(r)
		shops := shopNames("shop", shopsOfATest(t, 300))
		workers := r.startAll(l.replicas)
		r.selected(shops...)
		r.entered(shops...)
		r.awaitResults(schemas.TypeActivated, len(shops), 3*time.Minute)
		r.awaitResults(schemas.TypeInvited, len(shops), time.Minute)

		// The same events once more: only the inbox hears of it.
		before := r.sandbox.Effects().Requests
		r.selected(shops...)
		r.entered(shops...)
		await(t, time.Minute, "the repeats are counted", func() bool {
			return sumOver(workers, "invoicebox_worker_records_total", `outcome="repeated"`) >= float64(2*len(shops))
		})
		for i, w := range workers {
			_, metrics := w.get("/metrics")
			t.Logf("worker %d: %v operations finished, %v events published", i,
				sumOf(metrics, "invoicebox_worker_operations_finished_total", ""), sumOf(metrics, "invoicebox_worker_published_total", ""))
		}
		r.terminateAll(workers)
		if after := r.sandbox.Effects().Requests; after != before {
			t.Errorf("the repeated events made %d requests", after-before)
		}
		for _, typ := range []string{schemas.TypeInvited, schemas.TypeActivated} {
			if events := r.results(typ); len(events) != len(shops) || distinct(events) != len(shops) {
				t.Errorf("%s: %d records, %d different, want %d", typ, len(events), distinct(events), len(shops))
			}
		}
		for _, typ := range []string{schemas.TypeInvitationFailed, schemas.TypeActivationFailed, schemas.TypeDeadLetter} {
			if n := r.count(typ); n != 0 {
				t.Errorf("%d records in %s", n, typ)
			}
		}
		r.judge()
		r.resolveByCommand(shops[len(shops)/2])
	})
}

// resolveByCommand does what an operator does with a reference.
func (r *rig) resolveByCommand(shop string) {
	r.t.Helper()
	ref := schemas.Reference{Store: "sealed", Mount: "journal", Account: "default", Shop: shop, Version: 1, Field: "token"}
	out := r.must(append([]string{"resolve", ref.String()}, r.settings()...)...)
	if strings.TrimSpace(out) != r.sandbox.TokenOf(codeOf(shop)) {
		r.t.Errorf("resolve %s does not print the token that was issued", ref)
	}
}

// The worker is killed five times in the middle of its work. A code that was
// being sent at that moment is unknown and waits for a person, an invitation is
// sent once more; everything else ends as if nothing had happened.
func TestKilledFiveTimes(t *testing.T) {
	t.Parallel() // most of it is waiting for the group to notice the dead
	killed(t, alone(), "hold", map[string]bool{"outcome_unknown": true})
}

// The same with probes. The sandbox refuses a code that is spent: where the
// request had come through its answer is lost.
func TestKilledFiveTimesWithProbes(t *testing.T) {
	t.Parallel()
	killed(t, alone(), "probe-once", map[string]bool{"outcome_unknown": true, "outcome_lost": true})
}

// The same with three replicas, of which one after the other is killed, or frozen
// until the others have taken over what it had.
func TestReplicasKilledFiveTimesWithProbes(t *testing.T) {
	t.Parallel()
	killed(t, threeReplicas(t), "probe-once", map[string]bool{"outcome_unknown": true, "outcome_lost": true})
}

func killed(t *testing.T, l layout, unknownOutcome string, reasons map[string]bool) {
	t.Helper()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		if l.replicas > 1 {
			t.Parallel()
		}
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 5)) // #nosec G404 -- moments of a test
		// Calls that take long, and not many shops, so that there is work at every kill.
		r := newRig(t, c, calm(80*time.Millisecond), lifted("--concurrency", "16", "--unknown-outcome", unknownOutcome,
			"--request-deadline", "1s", "--lease", "2s", "--slack", "1s", "--quiet-period", "2s")...)
		l.place(r)
		shops := shopNames("shop", shopsOfATest(t, 400))
		r.selected(shops...)
		r.entered(shops...)
		workers := r.startAll(l.replicas)
		for n := range 5 {
			pause(time.Duration(100+rnd.IntN(1000)) * time.Millisecond)
			i := rnd.IntN(l.replicas)
			if l.replicas > 1 && n%2 == 1 {
				workers[i].freeze(5 * time.Second) // lease and quiet period
				continue
			}
			workers[i].kill()
			workers[i] = r.start()
		}
		await(t, 4*time.Minute, "nothing is left to do", func() bool { return r.idle(workers[0], 2*len(shops)) })
		r.terminateAll(workers)

		unknown := map[string]int{}
		for _, op := range r.operations("--attention", "--limit", "1000") {
			if !reasons[op.Reason] {
				t.Errorf("%s of %s is in attention for %s", op.Kind, op.Shop, op.Reason)
			}
			unknown[op.Kind]++
		}
		invited, activated := distinct(r.results(schemas.TypeInvited)), distinct(r.results(schemas.TypeActivated))
		t.Logf("%d shops: %d invited, %d activated; unknown: %v", len(shops), invited, activated, unknown)
		if invited+unknown["invite"] != len(shops) {
			t.Errorf("%d invited and %d unknown are not %d shops", invited, unknown["invite"], len(shops))
		}
		if activated+unknown["activate"] != len(shops) {
			t.Errorf("%d activated and %d unknown are not %d shops", activated, unknown["activate"], len(shops))
		}
		if got := distinct(r.results(schemas.TypeActivationFailed)); got != unknown["activate"] {
			t.Errorf("%d activations failed, %d are unknown", got, unknown["activate"])
		}
		if n := r.count(schemas.TypeDeadLetter); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		probes := r.judge()
		t.Logf("requests made in doubt: %v", probes)
		if unknownOutcome == "hold" && probes["activate"] != 0 {
			t.Errorf("%d probes although none is to be made", probes["activate"])
		}
	})
}

// idle tells whether the worker has read everything and has nothing open.
func (r *rig) idle(w *worker, events int) bool {
	status, metrics := w.get("/metrics")
	if status != 200 {
		return false
	}
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	s, err := j.Stats(r.t.Context())
	return err == nil && int(s.Events) >= events && nothingOpen(s) && len(r.unread(j)) == 0 && metrics != ""
}

// SIGTERM under load: exit 0 in time, nothing lost, repeated or made unknown.
func TestSigtermUnderLoad(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		r := newRig(t, c, calm(50*time.Millisecond), lifted("--concurrency", "32")...)
		shops := shopNames("shop", shopsOfATest(t, 400))
		r.selected(shops...)
		r.entered(shops...)
		for i := range 2 {
			w := r.start()
			r.awaitResults(schemas.TypeInvited, (i+1)*len(shops)/10, time.Minute)
			code, took := w.terminate(40 * time.Second)
			if code != 0 {
				t.Errorf("exit status %d after SIGTERM", code)
			}
			if took > 10*time.Second {
				t.Errorf("SIGTERM took %v", took)
			}
			t.Logf("SIGTERM took %v", took)
		}
		w := r.start()
		await(t, 4*time.Minute, "nothing is left to do", func() bool { return r.idle(w, 2*len(shops)) })
		w.terminate(40 * time.Second)
		if list := r.operations("--attention"); len(list) != 0 {
			t.Errorf("%d operations are in attention", len(list))
		}
		for _, typ := range []string{schemas.TypeInvited, schemas.TypeActivated} {
			if got := distinct(r.results(typ)); got != len(shops) {
				t.Errorf("%d different %s for %d shops", got, typ, len(shops))
			}
		}
		r.judge()
	})
}

// The limit of the API is kept over two windows and a restart in the middle,
// by the sandbox's own count.
func TestTheLimitIsKeptOverARestart(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		t.Parallel()
		const limit, shops = 100, 320
		window := 5 * time.Second
		if fullPace() {
			window = 30 * time.Second // the API's own
		}
		r := newRig(t, c, sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: limit, Window: window},
			"--window", window.String(), "--slack", "1s", "--quiet-period", "2m")
		names := shopNames("shop", shops)
		r.selected(names...)
		began := time.Now()
		w := r.start()
		r.awaitResults(schemas.TypeInvited, limit+limit/2-60, 2*window)
		code, _ := w.terminate(40 * time.Second)
		if code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
		w = r.start()
		r.awaitResults(schemas.TypeInvited, 2*limit+limit/2, 4*window)
		w.terminate(40 * time.Second)
		for _, load := range r.sandbox.Windows().Accounts {
			t.Logf("%d requests in %v, the most in a window %d, answered 429: %d", load.Requests, time.Since(began), load.Peak, load.Limited)
			if load.Peak > limit || load.Exceeded != 0 || load.Limited != 0 {
				t.Errorf("the limit of %d was broken: %+v", limit, load)
			}
		}
		r.judge()
	})
}

// sumOf adds the samples of a metric whose labels hold label.
func sumOf(metrics, name, label string) float64 {
	var sum float64
	for line := range strings.Lines(metrics) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || !strings.Contains(rest, label) {
			continue
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64); err == nil {
			sum += v
		}
	}
	return sum
}
