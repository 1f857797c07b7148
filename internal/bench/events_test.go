package bench

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

const (
	events   = 20_000
	inFlight = 100 // calls, of all workers together
	warming  = 2000
)

// BenchmarkEvents measures the whole chain: codes in Kafka, for each an activation and
// a check of its token, results in Kafka.
func BenchmarkEvents(b *testing.B) {
	for _, latency := range []time.Duration{0, 50 * time.Millisecond} {
		for _, shops := range []int{events, 500} {
			b.Run(fmt.Sprintf("latency=%s/shops=%d", latency, shops), func(b *testing.B) {
				benchmarkEvents(b, latency, shops)
			})
		}
	}
}

func benchmarkEvents(b *testing.B, latency time.Duration, shops int) {
	var loop, sqlite, one float64 // events a second
	b.Run("franz-go", func(b *testing.B) {
		r := newRig(b, latency)
		r.startLoop()
		loop = r.measure(b, events, shops)
	})
	run := func(name string, replicas int, postgres bool, ratios func(b *testing.B, rate float64)) {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, latency)
			if postgres {
				r.journal = pgtest.Start(b).Database(b, "")
			}
			for i := range replicas {
				r.start("--concurrency", strconv.Itoa((inFlight+i)/replicas))
			}
			rate := r.measure(b, events, shops)
			if loop > 0 {
				b.ReportMetric(rate/loop, "of-loop")
			}
			ratios(b, rate)
			r.end()
		})
	}
	run("sqlite", 1, false, func(_ *testing.B, rate float64) { sqlite = rate })
	run("postgres", 1, true, func(b *testing.B, rate float64) {
		one = rate
		if sqlite > 0 {
			b.ReportMetric(rate/sqlite, "of-sqlite")
		}
	})
	run("postgres-three-replicas", 3, true, func(b *testing.B, rate float64) {
		if one > 0 {
			b.ReportMetric(rate/one, "of-one")
		}
	})
}

// BenchmarkStores measures the same chain with the secrets in the journal, and in an OpenBao
// beside it, whose share of the rate in the journal it reports.
func BenchmarkStores(b *testing.B) {
	const n = 4000
	var sealed float64 // events a second
	run := func(name string, flags func(b *testing.B, r *rig) []string) (rate float64) {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, 50*time.Millisecond)
			r.start(append([]string{"--concurrency", strconv.Itoa(inFlight)}, flags(b, r)...)...)
			rate = r.measure(b, n, n)
			if sealed > 0 {
				b.ReportMetric(rate/sealed, "of-sealed")
			}
			r.end()
		})
		return rate
	}
	sealed = run("sealed", func(*testing.B, *rig) []string { return nil })
	run("openbao", func(b *testing.B, r *rig) []string {
		s := baotest.Start(b)
		rules, err := os.ReadFile("../../deploy/openbao/policy.hcl")
		if err != nil {
			b.Fatal(err)
		}
		s.Policy(b, "invoicebox-worker", string(rules))
		token := r.path("vault-token")
		if err := os.WriteFile(token, []byte(s.Token(b, "invoicebox-worker", nil)), 0o600); err != nil {
			b.Fatal(err)
		}
		return []string{"--credentials-store", "openbao", "--vault-address", s.URL(), "--vault-ca-file", s.CAFile(), "--vault-token-file", token}
	})
}

// measure reports and returns the events a second of a load of n events, from the first
// call to the last result, after a warm-up.
func (r *rig) measure(b *testing.B, n, shops int) float64 {
	b.Helper()
	code := func(prefix string, shops int) func(i int) (string, string, string) {
		return func(i int) (id, shop, data string) {
			shop = prefix + strconv.Itoa(i%shops)
			code := shop + "-" + strconv.Itoa(i/shops)
			return code, shop, fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, shop, code)
		}
	}
	began := 0
	for warm := false; !warm; {
		r.produce(schemas.TypeCodeEntered, warming, code(fmt.Sprintf("warm-%d-", began), warming))
		began += warming
		r.wait(func() bool { return r.count(schemas.TypeActivated) >= began })
		// Until then the group may still have been in a rebalance.
		warm = !slices.ContainsFunc(r.processes, func(p *process) bool { return p.metric("invoicebox_worker_records_total", "") == 0 })
	}
	r.api.reset()
	cpu := r.cpu()
	calls, calling := r.called()
	r.produce(schemas.TypeCodeEntered, n, code("shop-", shops))
	profile := r.profile(b)
	r.wait(func() bool { return r.count(schemas.TypeActivated) >= began+n })
	took := time.Since(*r.api.began.Load())
	rate := float64(n) / took.Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate, "events/s")
	if r.api.latency > 0 {
		ideal := inFlight / r.api.latency.Seconds()
		b.ReportMetric(float64(r.api.calls.Load())/took.Seconds()/ideal, "of-ideal")
	}
	if len(r.processes) > 0 {
		made, sum := r.called()
		b.ReportMetric((sum-calling).Seconds()*1000/(made-calls), "ms/call")
		used := float64((r.cpu() - cpu).Microseconds()) / float64(n)
		b.ReportMetric(used, "worker-cpu-µs/event")
		if p := profile(); p != nil {
			fmt.Printf("\n%s\n%s", b.Name(), budget(p, used)) // b.Log cuts it
		}
		b.ReportMetric(r.resident()/(1<<20), "worker-resident-MiB")
	}
	return rate
}
