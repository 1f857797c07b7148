package bench

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// BenchmarkRestart kills a worker (SIGKILL) that has open operations, starts another one, and reports
// the time from its start until it is ready. The broker waits for the session of the killed
// one to time out, whatever the journal holds: the case with one operation shows how long.
func BenchmarkRestart(b *testing.B) {
	for name, url := range map[string]func(*testing.B) string{
		"sqlite": nil, "postgres": func(b *testing.B) string { return pgtest.Start(b).Database(b, "") },
	} {
		b.Run(name, func(b *testing.B) {
			var empty float64 // seconds
			for _, open := range []int{1, 200_000} {
				b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
					r := newRig(b, 0)
					if url != nil {
						r.journal = url(b)
					}
					seconds := r.restart(b, open)
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(seconds, "s-to-ready")
					b.ReportMetric(r.processes[0].metric("process_resident_memory_bytes", "")/(1<<20), "worker-resident-MiB")
					if empty > 0 {
						b.ReportMetric(seconds-empty, "s-beyond-rejoin")
					}
					empty = seconds
					r.end()
				})
			}
		})
	}
}

// restart fills the journal with open operations, one of which can be called, and returns
// how many seconds the second worker took to be ready.
func (r *rig) restart(b *testing.B, open int) float64 {
	b.Helper()
	r.produce(schemas.TypeProviderSelected, open, func(i int) (id, shop, data string) {
		shop = "shop-" + strconv.Itoa(i)
		return shop, shop, selectedData(shop)
	})
	first := r.start("--requests-per-window", "1")
	r.wait(func() bool { return first.metric("invoicebox_worker_records_total", "") >= float64(open) })
	if err := first.cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = first.cmd.Wait() // it was killed
	r.processes = nil
	began := time.Now()
	second := r.start("--requests-per-window", "1")
	r.wait(second.ready)
	return time.Since(began).Seconds()
}

func (p *process) ready() bool {
	resp, err := http.Get("http://" + p.addr + "/readyz") //nolint:noctx // a benchmark
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
