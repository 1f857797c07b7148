package bench

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"invoicebox-worker/internal/pgtest"
	"invoicebox-worker/schemas"
)

// inFlight is how many calls each worker may have in flight: replicas are the same
// program with the same settings. Where three share what one has, each has less
// to put into a transaction, and on two processors the three are slower.
const inFlight = 99

// BenchmarkReplicas is the whole chain, from events in Kafka to results in Kafka,
// on each database and with one and three workers, each a process of its own.
// Ratios are to what was measured just before with the same latency: of-sqlite
// to one worker on SQLite, of-one to one worker on the same database.
//
// INVOICEBOX_BENCH_SHOPS is how many shops are selected and enter their codes.
func BenchmarkReplicas(b *testing.B) {
	shops := 10_000
	if text := os.Getenv("INVOICEBOX_BENCH_SHOPS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			b.Fatalf("INVOICEBOX_BENCH_SHOPS is %q: it must be a number", text)
		}
		shops = n
	}
	for _, latency := range []time.Duration{0, 50 * time.Millisecond} {
		var sqlite, one float64 // events a second
		for _, x := range []struct {
			name     string
			postgres bool
			replicas int
		}{{"sqlite/one", false, 1}, {"postgres/one", true, 1}, {"postgres/three", true, 3}, {"postgres/three-sharing", true, 3}} {
			b.Run(fmt.Sprintf("latency=%s/%s", latency, x.name), func(b *testing.B) {
				r := newRig(b, latency)
				if x.postgres {
					r.journal = pgtest.Start(b).Database(b, "")
				}
				calls := inFlight
				if x.name == "postgres/three-sharing" {
					calls /= 3
				}
				began := r.settle(x.replicas, calls)
				r.produce(schemas.TypeProviderSelected, shops, selectedData)
				r.produce(schemas.TypeCodeEntered, shops, enteredData)
				r.wait(func() bool {
					return r.count(schemas.TypeInvited) >= began.invited+shops && r.count(schemas.TypeActivated) >= shops
				})
				took := time.Since(r.sandbox.Requests()[began.requests].Time)
				rate := float64(2*shops) / took.Seconds()
				switch {
				case !x.postgres:
					sqlite = rate
				case x.replicas == 1:
					one = rate
				}
				if x.postgres && sqlite > 0 {
					b.ReportMetric(rate/sqlite, "of-sqlite")
				}
				if x.replicas > 1 && one > 0 {
					b.ReportMetric(rate/one, "of-one")
				}
				if latency > 0 {
					b.ReportMetric(rate/(float64(x.replicas*calls)/latency.Seconds()), "of-ideal")
				}
				if x.replicas > 1 {
					b.ReportMetric(r.leastShare(), "least-share")
				}
				report(b, 2*shops, took, r.end)
			})
		}
	}
}

// A start is what had happened before the clock began.
type start struct{ invited, requests int }

// settle starts workers and waits until each has its partitions, and has
// worked: what follows is not the start of a process, a group or a cache.
func (r *rig) settle(replicas, calls int) start {
	r.b.Helper()
	for range replicas {
		r.start("--concurrency", strconv.Itoa(calls))
	}
	sent := 0
	for worked := 0; worked < replicas; {
		r.warm(sent)
		sent += warming
		r.wait(func() bool { return r.count(schemas.TypeInvited) >= sent })
		worked = 0
		for _, p := range r.processes {
			if p.metric("invoicebox_worker_records_total", "") > 0 {
				worked++
			}
		}
	}
	return start{invited: sent, requests: len(r.sandbox.Requests())}
}

// warming is enough for each partition to get some.
const warming = 20 * partitions

// warm selects Invoicebox for shops of its own.
func (r *rig) warm(from int) {
	r.b.Helper()
	r.produceOf(schemas.TypeProviderSelected, warming, func(i int) (shop, data string) {
		shop = "warm-" + strconv.Itoa(from+i)
		return shop, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"%s@shops.example"}`, shop, shop)
	})
}

// leastShare is the least that one of the workers did of all records, where an
// equal share is 1.
func (r *rig) leastShare() float64 {
	least, sum := 0.0, 0.0
	for i, p := range r.processes {
		n := p.metric("invoicebox_worker_records_total", "")
		if sum += n; i == 0 || n < least {
			least = n
		}
	}
	return least / sum * float64(len(r.processes))
}
