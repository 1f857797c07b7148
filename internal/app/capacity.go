package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/journal"
)

const (
	roomFor    = time.Second     // how long a result is valid
	roomWithin = 2 * time.Second // how long a read of the journal may take
	// bytesPerCall is how many bytes of the disk a call in flight may still need: for
	// its response, in the log and in the file, and for the other writes of its
	// operation.
	bytesPerCall = 512 << 10
	callsReserve = 4 // calls begin until a fourth of the reserve is left
)

// A capacityReader is the part of the journal that the bounds need.
type capacityReader interface {
	Capacity(ctx context.Context) (journal.Capacity, error)
}

// A capacityMonitor decides whether more records may be fetched: it compares the journal's
// size with the bounds of the settings. Fetching resumes a little below the bound that
// stopped it, so that it does not oscillate.
type capacityMonitor struct {
	journal capacityReader
	limit   int64 // bytes of the journal, 0: none
	reserve int64 // bytes that stay free on its disk
	outbox  int64 // events
	log     *slog.Logger
	now     func() time.Time

	mu      sync.Mutex
	at      time.Time
	why     string // not empty: stopped
	failing bool   // the last read failed, and that was logged

	// seen is the result of the last read. The gauges do not take mu, which is held during
	// a read.
	seen atomic.Pointer[journal.Capacity]
}

// ready is called before every fetch.
func (k *capacityMonitor) ready() (bool, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if age := k.now().Sub(k.at); !k.at.IsZero() && age >= 0 && age < roomFor {
		return k.why == "", k.why
	}
	ctx, cancel := context.WithTimeout(context.Background(), roomWithin)
	defer cancel()
	seen, err := k.journal.Capacity(ctx)
	k.at = k.now()
	if err != nil {
		// Ingest will fail as well, and be retried: nothing is decided here.
		if !k.failing {
			k.log.Warn("cannot read the size of the journal", "err", err)
		}
		k.failing = true
		return k.why == "", k.why
	}
	k.failing = false
	k.seen.Store(&seen)
	k.why = k.evaluate(seen, k.why != "")
	return k.why == "", k.why
}

// evaluate describes the first bound that is reached, and when fetching resumes. Held:
// fetching was stopped before.
func (k *capacityMonitor) evaluate(r journal.Capacity, held bool) string {
	againReserve, againLimit, againOutbox := k.reserve+k.reserve/10, k.limit-k.limit/20, k.outbox-k.outbox/10
	limit, outbox, reserve := k.limit, k.outbox, k.reserve
	if held {
		limit, outbox, reserve = againLimit, againOutbox, againReserve
	}
	switch {
	case r.Free >= 0 && r.Free < reserve:
		return fmt.Sprintf("%s are free on the journal's disk; fetching stops below %s (--journal-reserve) and resumes at %s", formatBytes(r.Free), formatBytes(k.reserve), formatBytes(againReserve))
	case limit > 0 && r.Used >= limit:
		return fmt.Sprintf("the journal holds %s; fetching stops at %s (--journal-limit) and resumes below %s", formatBytes(r.Used), formatBytes(k.limit), formatBytes(againLimit))
	case r.Outbox >= outbox:
		return fmt.Sprintf("%d events wait to be published; fetching stops at %d (--outbox-limit) and resumes below %d", r.Outbox, k.outbox, againOutbox)
	}
	return ""
}

// register registers the gauges, which show the last read.
func (k *capacityMonitor) register(r prometheus.Registerer) {
	gauge := func(name, help string, value func(journal.Capacity) int64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "invoicebox_worker_" + name, Help: help}, func() float64 {
			return float64(value(*k.seen.Load()))
		}))
	}
	gauge("journal_used_bytes", "Size of the journal's content, without pages that are free again.", func(r journal.Capacity) int64 { return r.Used })
	gauge("journal_disk_free_bytes", "Free bytes on the journal's disk; -1 if the system does not report them.", func(r journal.Capacity) int64 { return r.Free })
}

// reservedBytes returns how many bytes must be free for fetching to continue, and for
// calls to begin.
func (o *Options) reservedBytes() (fetching, calls int64) {
	fetching = max(int64(o.JournalReserve), callsReserve*bytesPerCall*int64(o.Concurrency))
	return fetching, fetching / callsReserve
}

func newCapacityMonitor(o *Options, j capacityReader, log *slog.Logger) *capacityMonitor {
	k := &capacityMonitor{journal: j, limit: int64(o.JournalLimit), outbox: int64(o.OutboxLimit), log: log, now: time.Now}
	k.seen.Store(&journal.Capacity{Free: -1})
	k.reserve, _ = o.reservedBytes()
	return k
}

// formatBytes formats a number of bytes.
func formatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
