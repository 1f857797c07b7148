package endtoend

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
)

// wholeMatrix tells whether everything is to be tried; see the package's
// documentation.
func wholeMatrix() bool { return os.Getenv("INVOICEBOX_TEST_CRASH") == "full" }

// A crash is one run of the matrix: all subjects at one point.
type crash struct {
	point   crashPoint
	setting string // of unknown-outcome
	always  bool   // not only in the full matrix
}

func crashes(always func(point, setting string) bool) []crash {
	var list []crash
	for _, setting := range []string{"probe-once", "hold"} {
		for _, p := range crashPoints {
			list = append(list, crash{p, setting, always(p.name, setting)})
		}
	}
	return list
}

// each runs the crashes beside each other: most of their time is waiting.
func each(t *testing.T, list []crash, run func(t *testing.T, c crash) int) {
	var tried, runs atomic.Int64
	began := time.Now()
	t.Run("at", func(t *testing.T) {
		for _, c := range list {
			if !c.always && !wholeMatrix() {
				continue
			}
			t.Run(c.point.name+"/"+c.setting, func(t *testing.T) {
				t.Parallel()
				tried.Add(int64(run(t, c)))
				runs.Add(1)
			})
		}
	})
	t.Logf("%d runs, %d operations of %d classes of answer at a crash point, %v", runs.Load(), tried.Load(), len(classes), time.Since(began).Round(time.Second))
}

// A worker is killed with every class of answer standing at one point, and
// invoicebox-worker takes up what is left.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	list := crashes(func(point, setting string) bool {
		return setting == "probe-once" || point == "sent"
	})
	each(t, list, func(t *testing.T, c crash) int {
		r := newCrashRig(t, subjects(wholeMatrix(), c.setting), c.setting)
		r.produce()
		if c.point.name == "sent" {
			r.gate.close()
		}
		w := r.watch(c.point.name)
		n := r.awaitParked(w, c.point)
		w.kill()
		r.gate.open()
		after := r.restart()
		after.awaitReady()
		r.awaitSettled(r.patience())
		r.judgeCrash(c.point.leads, c.point.clean)
		r.resolves()
		if code, _ := after.terminate(40 * time.Second); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
		return n
	})
}

// A worker is frozen with every class of answer standing at one point, until
// its leases and the quiet period are over, and goes on at once.
func TestFrozenAtEveryPoint(t *testing.T) {
	t.Parallel()
	list := crashes(func(point, setting string) bool {
		return setting == "probe-once" && slices.Contains([]string{"sending", "sent", "answered", "received"}, point)
	})
	each(t, list, func(t *testing.T, c crash) int { return frozen(t, c, false) })
}

// The same, but the steps that were interrupted come only when others have done
// their work instead: the stale ones do no harm, and a late answer is kept.
func TestFrozenAndStale(t *testing.T) {
	t.Parallel()
	var list []crash
	for _, c := range crashes(func(point, setting string) bool {
		return point == "answered" || setting == "probe-once" && point == "sending"
	}) {
		if c.point.stale {
			list = append(list, c)
		}
	}
	each(t, list, func(t *testing.T, c crash) int { return frozen(t, c, true) })
}

func frozen(t *testing.T, c crash, stale bool) int {
	t.Helper()
	r := newCrashRig(t, subjects(wholeMatrix(), c.setting), c.setting)
	r.produce()
	if c.point.name == "sent" {
		r.gate.close()
	}
	w := r.watch(c.point.name)
	n := r.awaitParked(w, c.point)
	w.signal(syscall.SIGSTOP)
	thaw := time.NewTimer(crashFreeze)
	r.gate.open() // the answers arrive at a process that does not read them
	r.refusesAnother()
	<-thaw.C
	w.signal(syscall.SIGCONT)
	if stale {
		r.awaitSettled(r.patience())
		if c.point.name == "answered" {
			// Whoever had the answers was given up: what comes of them now is late.
			for key, op := range r.outcomes() {
				if op.Reason == "activated" && strings.HasPrefix(key, "activate/activate-good-") {
					t.Errorf("%s is activated, and its answer is not written", key)
				}
			}
		}
	}
	w.goOn()
	may := func(s subject) ends { return mayEndFrozen(c.point, s) }
	// What was interrupted goes on only now, so that all can look settled before it.
	await(t, r.patience(), "every operation came to an end that it may have", func() bool {
		r.renew()
		list := r.outcomes()
		return !slices.ContainsFunc(r.subjects, func(s subject) bool { return !slices.Contains(may(s), list[s.key()].Reason) })
	}, func() string { return r.strays(may) })
	r.awaitSettled(r.patience())
	r.judgeCrash(may, c.point.clean)
	r.resolves()
	if code, _ := w.terminate(40 * time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
	return n
}

// mayEndFrozen: where its worker comes back in time it ends as if nothing had
// happened, else as if the worker had been killed. An answer that the worker
// has is never lost; one that it had begun to read may be cut short by the
// deadline, which was over when it could go on.
func mayEndFrozen(p crashPoint, s subject) ends {
	may := slices.Concat(s.story.calm, p.leads(s))
	switch {
	case p.name == "answered" && withReceipt(s):
		return s.story.calm
	case p.name == "sent" && withReceipt(s):
		may = append(may, "answer_unreadable")
	}
	return may
}

func (r *crashRig) strays(may func(subject) ends) string {
	var words []string
	list := r.outcomes()
	for _, s := range r.subjects {
		if op := list[s.key()]; !slices.Contains(may(s), op.Reason) {
			words = append(words, s.key()+" is "+op.State+" ("+op.Reason+")")
		}
	}
	return strings.Join(words, "\n")
}

// refusesAnother: beside a worker, also a frozen one, no other can use its journal.
func (r *crashRig) refusesAnother() {
	r.t.Helper()
	w := r.restart()
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		r.t.Error("a second worker runs beside a frozen one")
		w.kill()
		return
	}
	if w.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(w.log.tail(8<<10), "another worker runs with it") {
		r.t.Errorf("the second worker ended with %v and says\n%s", w.cmd.ProcessState, w.log.tail(8<<10))
	}
}

func (r *crashRig) patience() time.Duration {
	if wholeMatrix() {
		return 5 * time.Minute // a token that is refused is checked for two
	}
	return 90 * time.Second
}

// resolves does with one activated shop what operators do: its history, and the
// token behind its reference.
func (r *crashRig) resolves() {
	r.t.Helper()
	for _, s := range r.subjects {
		if s.kind != "activate" || r.outcomes()[s.key()].Reason != "activated" {
			continue
		}
		flags := []string{"--account", s.account()}
		if out := r.must(append([]string{"shops", "show", s.shop}, append(flags, r.settings()...)...)...); !strings.Contains(out, s.shop) {
			r.t.Errorf("shops show %s says nothing of it:\n%s", s.shop, out)
		}
		out := r.must(append([]string{"resolve", "ref+sealed://journal/invoicebox/" + s.account() + "/" + s.shop + "?version=1#/token"}, r.settings()...)...)
		if strings.TrimSpace(out) != r.sandbox.TokenOf(s.text) {
			r.t.Errorf("resolve does not print the token that was issued to %s", s.shop)
		}
		return
	}
}

// judgePositions: what the group has committed is in the inbox.
func (r *crashRig) judgePositions(positions func(context.Context) ([]journal.Position, error)) {
	r.t.Helper()
	known, err := positions(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	next := map[string]map[int]int64{}
	for _, p := range known {
		if next[p.Topic] == nil {
			next[p.Topic] = map[int]int64{}
		}
		next[p.Topic][p.Partition] = p.Next
	}
	for topic, partitions := range next {
		for partition, committed := range r.cluster.Committed(r.t, r.group, topic) {
			if committed > partitions[partition] {
				r.t.Errorf("%s/%d: %d is committed, the journal stands at %d", topic, partition, committed, partitions[partition])
			}
		}
	}
}
