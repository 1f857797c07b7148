package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
)

type fakeRoom struct {
	room  journal.Capacity
	err   error
	calls int
	read  func() // during a read, if it is set
}

func (f *fakeRoom) Capacity(context.Context) (journal.Capacity, error) {
	f.calls++
	if f.read != nil {
		f.read()
	}
	return f.room, f.err
}

// Each bound stops, says which it is, and lets go a little below only.
func TestTheBoundsOfTheJournal(t *testing.T) {
	o := Defaults()
	o.JournalLimit, o.JournalReserve, o.OutboxLimit, o.Concurrency = 1000<<20, 200<<20, 1000, 1
	for name, c := range map[string]struct {
		word string
		set  func(*journal.Capacity, int64)
		// What stops, what does not let go yet, and what does.
		stop, still, goOn int64
		fine              int64
	}{
		"size":   {"--journal-limit", func(r *journal.Capacity, n int64) { r.Used = n << 20 }, 1000, 960, 940, 999},
		"disk":   {"--journal-reserve", func(r *journal.Capacity, n int64) { r.Free = n << 20 }, 199, 210, 230, 200},
		"outbox": {"--outbox-limit", func(r *journal.Capacity, n int64) { r.Outbox = n }, 1000, 950, 890, 999},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(10_000, 0)
			fake := &fakeRoom{room: journal.Capacity{Free: 1 << 40}}
			k := newCapacityMonitor(&o, fake, quiet())
			k.now = func() time.Time { return now }
			check := func(value int64, want bool) {
				t.Helper()
				c.set(&fake.room, value)
				now = now.Add(2 * roomFor)
				if ok, why := k.ready(); ok != want || !ok && !strings.Contains(why, c.word) {
					t.Errorf("at %d: %v %q", value, ok, why)
				}
			}
			check(c.fine, true)
			check(c.stop, false)
			check(c.still, false)
			fake.err = errors.New("gone") // nothing changes by it
			check(c.goOn, false)
			fake.err = nil
			check(c.goOn, true)
			check(c.fine, true)
			calls := fake.calls
			for range 5 {
				k.ready()
			}
			if fake.calls != calls {
				t.Error("the journal was looked at more than once a second")
			}
		})
	}
}

func TestADiskThatNobodyMeasuresStopsNothing(t *testing.T) {
	o := Defaults()
	fake := &fakeRoom{room: journal.Capacity{Free: -1, Used: 1 << 50}}
	k := newCapacityMonitor(&o, fake, quiet())
	if ok, why := k.ready(); !ok {
		t.Error(why)
	}
	registry := prometheus.NewPedanticRegistry()
	k.register(registry)
	want := `
# HELP invoicebox_worker_journal_disk_free_bytes Free bytes on the journal's disk; -1 if the system does not report them.
# TYPE invoicebox_worker_journal_disk_free_bytes gauge
invoicebox_worker_journal_disk_free_bytes -1
# HELP invoicebox_worker_journal_used_bytes Size of the journal's content, without pages that are free again.
# TYPE invoicebox_worker_journal_used_bytes gauge
invoicebox_worker_journal_used_bytes 1.125899906842624e+15
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// Fetching stops well before calls do, and both leave room for all calls.
func TestReserves(t *testing.T) {
	for _, c := range []struct {
		setting            config.Size
		concurrency        int
		fetching, forCalls int64
	}{
		{256 << 20, 64, 256 << 20, 64 << 20}, {0, 1, 2 << 20, 512 << 10}, {1 << 30, 64, 1 << 30, 256 << 20}, {1 << 20, 64, 128 << 20, 32 << 20}, {0, 4096, 8 << 30, 2 << 30},
	} {
		o := Options{Worker: config.Worker{JournalReserve: c.setting, Concurrency: c.concurrency}}
		if f, calls := o.reservedBytes(); f != c.fetching || calls != c.forCalls {
			t.Errorf("%+v: %d and %d", c, f, calls)
		}
	}
}

func TestTheJournalsWord(t *testing.T) {
	for want, err := range map[string]error{
		"can be written":                      nil,
		"cannot be written: its disk is full": fmt.Errorf("commit: %w", journal.ErrFull),
		"cannot be written: its disk fails":   fmt.Errorf("commit: %w", journal.ErrDisk),
		"cannot be written":                   errors.New("locked by /secret/path"),
	} {
		ok, words := newWriteProbe(&fakeKeeper{kept: []byte("x"), err: err}).ready(t.Context())
		if ok != (err == nil) || !strings.HasPrefix(words, want) || strings.Contains(words, "secret") {
			t.Errorf("%v: %v %q", err, ok, words)
		}
	}
}

// A disk that is almost full shows in check and in the journal's own line, before
// a write fails.
func TestAFullDiskIsShown(t *testing.T) {
	o := Options{Worker: config.Worker{JournalURL: "sqlite:" + filepath.Join(t.TempDir(), "j.db"), Concurrency: 1}}
	at, err := journalAt(o.JournalURL)
	if err != nil {
		t.Fatal(err)
	}
	p := newJournalProbe(&o, &fakeKeeper{kept: []byte("x")}, nil)
	if ok, words := p.ready(t.Context()); !ok || at.lowSpace(&o) != "" {
		t.Errorf("with room: %q, %q", words, at.lowSpace(&o))
	}
	free := sqlite.Free(at.path)
	if free < 0 {
		t.Skip("the system does not say how much is free")
	}
	o.JournalReserve = config.Size(2 * free) // so that more than the part for calls is free
	if ok, words := p.ready(t.Context()); !ok || !strings.Contains(at.lowSpace(&o), "fetching stops") || strings.Contains(at.lowSpace(&o), "calls stop") {
		t.Errorf("with room for calls: %q, %q", words, at.lowSpace(&o))
	}
	o.JournalReserve = config.Size(8 * free)
	if ok, words := p.ready(t.Context()); ok || !strings.Contains(words, "nothing is sent") || strings.Contains(words, "can be written") || !strings.Contains(at.lowSpace(&o), "calls stop") {
		t.Errorf("without room: %q, %q", words, at.lowSpace(&o))
	}
	if got := checkJournal(t.Context(), o); got.Verdict != CheckFailed || !strings.Contains(got.Detail, "--journal-reserve") {
		t.Errorf("check says %+v", got)
	}
}

// A write that takes too long says what it waits for.
func TestAWriteThatWaits(t *testing.T) {
	p := newWriteProbe(&fakeKeeper{kept: []byte("x"), err: context.DeadlineExceeded})
	p.waits = func(ctx context.Context) (string, error) { return "its commits wait for a standby", ctx.Err() }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, words := p.ready(ctx); ok || words != "cannot be written: its commits wait for a standby" {
		t.Errorf("it says %q", words)
	}
}
