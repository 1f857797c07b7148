//go:build unix

package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A worker is frozen with every class of answer standing at one point, until
// its leases and the quiet period are over, and goes on at once.
func TestFrozenAtEveryPoint(t *testing.T) {
	t.Parallel()
	list := crashes(func(point, setting string) bool {
		return setting == "probe-once" && slices.Contains([]string{"sending", "sent", "received"}, point)
	})
	each(t, list, func(t *testing.T, c crash) int { return frozen(t, c, false) })
}

// The same, but the steps that were interrupted come only when others have done
// their work instead: the stale ones do no harm, and a late answer is kept.
func TestFrozenAndStale(t *testing.T) {
	t.Parallel()
	var list []crash
	for _, c := range crashes(func(point, setting string) bool {
		return setting == "probe-once" && (point == "answered" || point == "sending")
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
		r.circuit.close()
	}
	w := r.watch(c.point.name)
	n := r.awaitParked(c.point, w)
	w.signal(syscall.SIGSTOP)
	thaw := time.NewTimer(crashFreeze)
	r.circuit.open() // the answers arrive at a process that does not read them
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
		return !slices.ContainsFunc(r.subjects, func(s subject) bool { return !r.endedIn(s, list[s.key()], may(s)) })
	}, func() string { return r.strays(w, may) })
	r.awaitSettled(r.patience())
	r.judgeCrash(c.point, may)
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
	case !p.meets(s):
		return sometimeElse(s)
	case p.name == "answered" && withReceipt(s):
		return s.story.calm
	case p.name == "sent" && withReceipt(s):
		may = append(may, "answer_unreadable")
	}
	return may
}

// strays are those that ended elsewhere, with what the worker says of them.
func (r *crashRig) strays(w *watched, may func(subject) ends) string {
	var words []string
	list := r.outcomes()
	for _, s := range r.subjects {
		if op := list[s.key()]; !r.endedIn(s, op, may(s)) {
			words = append(words, s.key()+" is "+op.State+" ("+op.Reason+")")
			for line := range strings.Lines(string(w.log.bytes())) {
				if strings.Contains(line, `"`+s.shop+`"`) {
					words = append(words, strings.TrimSpace(line))
				}
			}
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
