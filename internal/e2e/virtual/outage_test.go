package virtual

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A phase is one way of being away, for a while.
type phase struct {
	name  string
	begin func(w *world)
	end   func(w *world)
}

var (
	unreachable = phase{"refused connections", func(w *world) { w.w.api.refuse(true); w.w.api.cut("") }, func(w *world) { w.w.api.refuse(false) }}
	unavailable = phase{"503", func(w *world) { w.circuit.set(refuses) }, func(w *world) { w.circuit.set(healthy) }}
	limited     = phase{"429", func(w *world) { w.circuit.set(limits) }, func(w *world) { w.circuit.set(healthy) }}
	// The other side takes no connection and refuses none.
	silent = phase{"time-outs of connections", func(w *world) { w.w.api.cut(""); w.w.api.hold(true) }, func(w *world) { w.w.api.hold(false) }}
	// It takes requests, and nobody knows what becomes of them.
	hanging = phase{"time-outs of requests", func(w *world) { w.circuit.set(hangs) }, func(w *world) { w.circuit.set(healthy) }}
)

// Invoicebox is away for hours, in every way in which nothing is executed, and
// events arrive all the time. SIMULATION_OUTAGE=24h makes it a day.
func TestInvoiceboxIsAway(t *testing.T) {
	outage(t, 2*time.Hour, time.Hour, unreachable, unavailable, silent)
}

// The account is limited all the time.
func TestInvoiceboxLimits(t *testing.T) { outage(t, time.Hour, 0, limited) }

// Requests that hang may have been executed. The few that do so before the circuit breaker
// rests are in doubt; whether Invoicebox is back is then asked with checks of the
// token, so that nothing hangs twice and goes to a person.
func TestInvoiceboxTakesRequestsAndDoesNotAnswer(t *testing.T) {
	outage(t, time.Hour, 0, hanging)
}

// A sample is what the process needs at one moment.
type sample struct {
	at         time.Duration
	waiting    int64 // operations
	heap       uint64
	goroutines int
}

func (s sample) String() string {
	return fmt.Sprintf("%v: %d operations wait, heap %.1f MB, %d goroutines", s.at, s.waiting, float64(s.heap)/1e6, s.goroutines)
}

// outage is of length, or short with -short; 0: not at all.
func outage(t *testing.T, length, short time.Duration, phases ...phase) {
	t.Helper()
	if testing.Short() {
		length = short
	}
	if text := os.Getenv("SIMULATION_OUTAGE"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length < time.Hour {
			t.Fatalf("SIMULATION_OUTAGE is %q: want an hour or more, as 24h", text)
		}
	}
	if length == 0 {
		t.Skip("left out with -short; SIMULATION_OUTAGE sets a length")
	}
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		const latency = 400 * time.Millisecond
		w := newWorld(t, setting{
			seed: 1, box: sandbox.Options{Profile: sandbox.Calm, Latency: latency}, brokers: 1, partitions: 1, retention: time.Hour,
		})
		w.start(filepath.Join(w.dir, "journal.db"))
		p := &platform{world: w}
		p.minutes(30)
		if ok, words := w.idle(); !ok {
			t.Errorf("before the outage: %s", words)
		}
		before := p.shops
		var samples []sample
		start := time.Now()
		for _, phase := range phases {
			phase.begin(w)
			for range 4 {
				p.minutes(int(length.Minutes()) / len(phases) / 4)
				samples = append(samples, w.sample(time.Since(start)))
				t.Logf("%s, %v", phase.name, samples[len(samples)-1])
				p.nothingFailed()
			}
			phase.end(w)
		}
		recovered, from := time.Now(), len(w.box.Requests())
		for {
			pause(10 * time.Second)
			ok, words := w.idle()
			if ok {
				break
			}
			if time.Since(recovered) > 4*time.Hour {
				t.Fatalf("%v after the outage: %s", time.Since(recovered), words)
			}
		}
		p.nothingFailed()
		pause(5 * time.Minute) // idle connections are closed after a minute
		t.Logf("afterwards, %v", w.sample(time.Since(start)))
		flat(t, samples, 4)
		w.allowedRate(recovered, from, latency)
		if n := w.published(schemas.TypeInvited); n != int64(p.shops) {
			t.Errorf("%d invited of %d shops", n, p.shops)
		}
		if n := w.published(schemas.TypeActivated); n != int64(p.shops) {
			t.Errorf("%d activated of %d shops", n, p.shops)
		}
		t.Logf("%d shops, %d of them during the outage, %d requests turned away", p.shops, p.shops-before, w.circuit.turned)
		w.finish()
		if w.w.err != nil || w.ends != 0 {
			t.Errorf("the worker ended with %v", w.w.err)
		}
	})
	t.Logf("took %v", time.Since(began))
}

// A platform sends events all the time: new shops, their codes a minute later,
// and some events again.
type platform struct {
	*world
	shops, rounds int
}

const shopsInTwoMinutes = 4

func (p *platform) minutes(n int) {
	for range n / 2 {
		var selected, entered []kafkago.Message
		for range shopsInTwoMinutes {
			shop := fmt.Sprintf("shop-%05d", p.shops)
			p.shops++
			selected = append(selected, scenario.Event(schemas.TypeProviderSelected, schemas.TypeProviderSelected+"/"+shop, shop, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"%s@shops.example"}`, shop, shop)))
			entered = append(entered, scenario.Event(schemas.TypeCodeEntered, schemas.TypeCodeEntered+"/"+shop, shop, fmt.Sprintf(`{"shopId":%q,"activationCode":"code-%s"}`, shop, shop)))
		}
		// Some events come again.
		selected, entered = append(selected, selected[0]), append(entered, entered[1])
		p.send(schemas.TypeProviderSelected, selected...)
		pause(time.Minute)
		p.send(schemas.TypeCodeEntered, entered...)
		pause(time.Minute)
		if p.rounds++; p.rounds%15 == 0 {
			p.kafka.Fake().ApplyRetention()
		}
	}
}

func (w *world) stats() (s journal.Stats) {
	w.Helper()
	w.look(func(j journal.Journal) {
		var err error
		if s, err = j.Stats(context.Background()); err != nil {
			w.Fatal(err)
		}
	})
	return s
}

func (w *world) sample(at time.Duration) sample {
	s := sample{at: at}
	for key, n := range w.stats().Operations {
		if key.State.Open() {
			s.waiting += n
		}
	}
	synctest.Wait()
	runtime.GC()
	runtime.GC() // what lay in pools goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.heap, s.goroutines = m.HeapAlloc, runtime.NumGoroutine()
	return s
}

// nothingFailed: no dead letter, no failed shop, and nothing for a person.
func (p *platform) nothingFailed() {
	p.Helper()
	s := p.stats()
	if s.DeadLetters != 0 || len(s.Attention) > 0 {
		p.Errorf("%d dead letters, in attention: %v, %d requests hung", s.DeadLetters, s.Attention, p.circuit.hung)
	}
	for _, typ := range []string{schemas.TypeInvitationFailed, schemas.TypeActivationFailed, schemas.TypeDeadLetter} {
		if n := p.published(typ); n != 0 {
			p.Errorf("%d events in %s", n, typ)
		}
	}
}

// published is how many records a topic ever got.
func (w *world) published(topic string) (n int64) {
	for _, p := range w.kafka.Offsets(w.T, topic) {
		n += p.Next
	}
	return n
}

// flat: what waits costs neither memory nor goroutines. Between phases it is
// connections that come and go; within one, only the queue grows.
func flat(t *testing.T, samples []sample, each int) {
	t.Helper()
	check := func(first, last sample, most int64) {
		if grown := int64(last.heap) - int64(first.heap); grown > most {
			t.Errorf("the heap grew by %.1f MB: %v; then %v", float64(grown)/1e6, first, last)
		}
		if last.goroutines > first.goroutines+20 {
			t.Errorf("goroutines: %v; then %v", first, last)
		}
	}
	for i, s := range samples {
		check(samples[0], s, 6<<20)
		check(samples[i-i%each], s, 1<<20)
	}
}

// allowedRate: after the outage the work is done as fast as the limit permits.
func (w *world) allowedRate(recovered time.Time, from int, latency time.Duration) {
	var first, last time.Time
	n := 0
	for _, r := range w.box.Requests()[from:] {
		if r.Operation == sandbox.Check {
			continue
		}
		if first.IsZero() {
			first = r.Time
		}
		n, last = n+1, r.Time.Add(r.Took)
	}
	// A full window of requests at a time, each a window and an answer behind the
	// one before.
	windows := (n + w.limit - 1) / w.limit
	ideal := time.Duration(windows-1)*(30*time.Second+latency) + latency
	used := float64(ideal) / float64(last.Sub(first))
	w.Logf("%d requests in %v, the first %v after the outage: %.1f %% of the allowed rate", n, last.Sub(first), first.Sub(recovered), 100*used)
	if used < leastUse && last.Sub(first)-ideal > 2*time.Second {
		w.Errorf("only %.1f %% of the allowed rate was used", 100*used)
	}
	if most := w.circuit.most(30 * time.Second); most > 500 {
		w.Errorf("%d requests in a window, checks of tokens included", most)
	}
	for _, l := range w.box.Windows().Accounts {
		if l.Exceeded != 0 || l.Peak > w.limit {
			w.Errorf("the limit was broken: %+v", l)
		}
	}
}

// leastUse is the share of the allowed rate that has to be used. A moment may be
// lost at the begin, which weighs more after a short outage.
const leastUse = 0.97
