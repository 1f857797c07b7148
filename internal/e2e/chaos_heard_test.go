package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"invoicebox-worker/invoicebox/sandbox"
)

// wholeAnswers are the faults that leave the answer of an activation readable.
var wholeAnswers = []string{"", "planted", "wrong-type-", "more-members-", "pending-token-", "same-merchant-"}

// heard finds the worker that an answer with a token reached, and that had some
// seconds to keep it, and a database to do so; nil when there is none. Which of
// several workers an answer reached is not known: all of them had to have these,
// and none may have died just before, with the request on its way.
func (r *chaosRig) heard(q sandbox.Request) *life {
	if q.Status != 200 || q.Pending || !slices.Contains(wholeAnswers, q.Fault) || q.Answered.Sub(q.Time) > r.s.deadline/2 {
		return nil
	}
	from, to := q.Time, r.kept(q)
	sent := from
	if r.layout.replicas > 1 {
		sent = from.Add(-onItsWay)
	}
	var one *life
	for _, l := range r.lives {
		if l.from.After(from) || l.to.Before(sent) {
			continue
		}
		if l.to.Before(to) || slices.ContainsFunc(l.frozen, func(f span) bool { return f.meets(from, to) }) {
			return nil
		}
		one = l
	}
	return one
}

const (
	onItsWay  = 5 * time.Second  // a request takes no longer from a worker to the sandbox
	keeping   = 2 * time.Second  // and an answer no longer to the journal
	reconnect = 8 * time.Second  // or this after the database is back: tries are up to 5 s apart,
	unlocked  = 15 * time.Second // or after another worker was frozen, which may hold locks for 10 s
)

// kept is when a living worker has kept an answer at the latest.
func (r *chaosRig) kept(q sandbox.Request) time.Time {
	to := q.Answered.Add(keeping)
	for _, down := range r.downs {
		if down.meets(q.Time, to) {
			to = down.to.Add(reconnect)
		}
	}
	for _, l := range r.lives {
		for _, f := range l.frozen {
			if until := f.from.Add(unlocked); r.layout.replicas > 1 && f.from.Before(to) && q.Time.Before(until) {
				to = until
			}
		}
	}
	return to
}

// around tells what else happened when a request was made.
func (r *chaosRig) around(q sandbox.Request) string {
	var words []string
	say := func(what string, s span) {
		const near = 20 * time.Second
		if s.meets(q.Time.Add(-near), q.Answered.Add(near)) {
			words = append(words, fmt.Sprintf("%s from %.1f s to %.1f s", what, s.from.Sub(q.Time).Seconds(), s.to.Sub(q.Time).Seconds()))
		}
	}
	for _, l := range r.lives {
		say(filepath.Base(l.log)+" ("+l.how+")", span{l.from, l.to})
		for _, f := range l.frozen {
			say("frozen", f)
		}
	}
	for _, d := range r.downs {
		say("no database", d)
	}
	return fmt.Sprintf("answered after %v; ", q.Answered.Sub(q.Time)) + strings.Join(words, ", ")
}
