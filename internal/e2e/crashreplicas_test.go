//go:build unix

package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// One of three replicas is killed with what it has of every class of answer at
// one point: the others, which live, take that over.
func TestReplicaKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	l := threeReplicas(t)
	list := crashes(func(point, setting string) bool {
		return setting == "probe-once" && slices.Contains([]string{"sending", "received", "published"}, point)
	})
	each(t, list, func(t *testing.T, c crash) int { return oneOfThree(t, l, c, (*crashRig).killsOne) })
}

// The same with one that is frozen until the others have taken over, and goes on
// at once.
func TestReplicaFrozenAtEveryPoint(t *testing.T) {
	t.Parallel()
	l := threeReplicas(t)
	list := crashes(func(point, setting string) bool { return setting == "probe-once" && point == "sent" })
	each(t, list, func(t *testing.T, c crash) int { return oneOfThree(t, l, c, (*crashRig).freezesOne) })
}

// The same, but the steps that were interrupted come only when the others have
// settled everything.
func TestReplicaFrozenAndStale(t *testing.T) {
	t.Parallel()
	l := threeReplicas(t)
	var list []crash
	for _, c := range crashes(func(point, setting string) bool { return setting == "probe-once" && point == "answered" }) {
		if c.point.stale {
			list = append(list, c)
		}
	}
	each(t, list, func(t *testing.T, c crash) int { return oneOfThree(t, l, c, (*crashRig).freezesOneForLong) })
}

// oneOfThree brings three replicas to a point, all together, lets something
// happen to the one that has most to lose, and judges. What happens returns
// where each subject may end.
func oneOfThree(t *testing.T, l layout, c crash, happens func(*crashRig, crashPoint, *watched, []*watched) func(subject) ends) int {
	t.Helper()
	r := newCrashRig(t, subjects(wholeMatrix(), c.setting), c.setting)
	l.place(r.rig)
	r.shared = true
	var workers []*watched
	for range l.replicas {
		workers = append(workers, r.watch(c.point.name))
	}
	r.awaitMembers(l.replicas)
	r.produce()
	if c.point.name == "sent" {
		r.circuit.close()
	}
	// At the other two points nobody takes work.
	if c.point.name != "intake" && c.point.name != "inbox" {
		j := r.openJournal()
		await(t, time.Minute, "all events are in the inbox", func() bool { return len(r.unread(j)) == 0 })
		_ = j.Close()
		for _, w := range workers {
			w.begin()
		}
	}
	n := r.awaitParked(c.point, workers...)
	victim := victimOf(workers)
	others := slices.DeleteFunc(slices.Clone(workers), func(w *watched) bool { return w == victim })
	claimed, parked := victim.counts()
	t.Logf("%d subjects at %s, of the victim: %d claimed, %d parked", n, c.point.name, claimed, parked)
	may := happens(r, c.point, victim, others)
	await(t, r.patience(), "every operation came to an end that it may have", func() bool {
		r.renew()
		list := r.outcomes()
		return !slices.ContainsFunc(r.subjects, func(s subject) bool { return !r.endedIn(s, list[s.key()], may(s)) })
	}, func() string { return r.strays(victim, may) })
	r.awaitSettled(r.patience())
	r.judgeCrash(c.point, may)
	r.resolves()
	for _, w := range workers {
		if w.ended() {
			continue // it was killed
		}
		if code, _ := w.terminate(40 * time.Second); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
	}
	return n
}

// killsOne: what was the victim's ends as if a single worker had been killed.
func (r *crashRig) killsOne(p crashPoint, victim *watched, others []*watched) func(subject) ends {
	victim.kill()
	r.circuit.open()
	for _, w := range others {
		w.goOn()
	}
	return func(s subject) ends {
		if !parkedIn(others, s.key()) && (victim.has(victim.claimed, s.key()) || !p.meets(s)) {
			return p.mayEnd(s)
		}
		// Its worker was held at the point, too, maybe for longer than its lease. If the victim
		// claimed it as well, the order of the two is not known.
		may := slices.Concat(s.story.calm, p.leads(s))
		if victim.has(victim.claimed, s.key()) {
			may = slices.Concat(may, p.mayEnd(s))
		}
		return may
	}
}

// parkedIn reports whether an operation has come to the point in one of the workers: after
// the lease of a slow worker has ended, another one can get the answer, too.
func parkedIn(workers []*watched, key string) bool {
	return slices.ContainsFunc(workers, func(w *watched) bool { return w.has(w.parked, key) })
}

func (r *crashRig) freezesOne(p crashPoint, victim *watched, others []*watched) func(subject) ends {
	r.freezeOne(victim, others)
	victim.goOn()
	return func(s subject) ends { return mayEndFrozen(p, s) }
}

func (r *crashRig) freezesOneForLong(p crashPoint, victim *watched, others []*watched) func(subject) ends {
	r.freezeOne(victim, others)
	r.awaitSettled(r.patience())
	if p.name == "answered" {
		for key, op := range r.outcomes() {
			if op.Reason == "activated" && strings.HasPrefix(key, "activate/activate-good-") && victim.has(victim.parked, key) && !parkedIn(others, key) {
				r.t.Errorf("%s is activated, and its answer is not written", key)
			}
		}
	}
	victim.goOn()
	return func(s subject) ends { return mayEndFrozen(p, s) }
}

// freezeOne lets the others work while one stands still.
func (r *crashRig) freezeOne(victim *watched, others []*watched) {
	victim.signal(syscall.SIGSTOP)
	thaw := time.NewTimer(crashFreeze)
	r.circuit.open()
	for _, w := range others {
		w.goOn()
	}
	<-thaw.C
	victim.signal(syscall.SIGCONT)
}

// victimOf is the one that publishes, where they stand there, else the one that
// has claimed most, or where nobody takes work the one that holds most.
func victimOf(workers []*watched) *watched {
	return slices.MaxFunc(workers, func(a, b *watched) int { return a.weight() - b.weight() })
}

func (w *watched) weight() int {
	const most = 1_000_000
	if w.has(w.parked, publishing) {
		return most
	}
	claimed, parked := w.counts()
	return claimed + parked
}

func (w *watched) counts() (claimed, parked int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.claimed), len(w.parked)
}

// awaitMembers waits until the group has so many members and is at rest.
func (r *rig) awaitMembers(n int) {
	r.t.Helper()
	client := &kafkago.Client{Addr: kafkago.TCP(r.cluster.Brokers()...), Timeout: 10 * time.Second}
	var last string
	await(r.t, time.Minute, "the group has its members", func() bool {
		resp, err := client.DescribeGroups(r.t.Context(), &kafkago.DescribeGroupsRequest{GroupIDs: []string{r.group}})
		if err != nil || len(resp.Groups) != 1 {
			return false
		}
		last = resp.Groups[0].GroupState
		return last == "Stable" && len(resp.Groups[0].Members) == n
	}, func() string { return "the group is " + last })
}
