package e2e

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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
		// At intake and claimed nothing is done yet; at storing and stored TestKilledWithOpenBao kills.
		return point == "sent" || setting == "probe-once" && !slices.Contains([]string{"intake", "claimed", "storing", "stored"}, point)
	})
	each(t, list, func(t *testing.T, c crash) int {
		r := newCrashRig(t, subjects(wholeMatrix(), c.setting), c.setting)
		r.produce()
		if c.point.name == "sent" {
			r.circuit.close()
		}
		w := r.watch(c.point.name)
		n := r.awaitParked(c.point, w)
		w.kill()
		r.circuit.open()
		after := r.restart()
		after.awaitReady()
		r.awaitSettled(r.patience())
		r.judgeCrash(c.point, c.point.mayEnd)
		r.resolves()
		if code, _ := after.terminate(40 * time.Second); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
		return n
	})
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
