package onboarding

import "time"

// slowStartBound is how many activations of an account may be in flight before
// a response has proved usable. Their codes are spent even if no response can be
// used, so it is as many as the pause for unusable responses costs anyway.
const slowStartBound = unusableToPause

// A slowStart bounds the activations of an account that are in flight in this
// process, from their claim to the end of their work. It grows with each response
// that was stored, and starts again with each one that cannot be used. A refusal
// changes nothing: it does not show that a success can be read.
type slowStart struct {
	limit int // the concurrency: a bound that has reached it ends
	bound int // 0: none
}

func newSlowStart(concurrency int) slowStart {
	return slowStart{limit: concurrency, bound: slowStartBound}
}

// usable notes a response that was stored.
func (s *slowStart) usable() {
	if s.bound *= 2; s.bound >= s.limit {
		s.bound = 0
	}
}

// unusable notes a response that cannot be used, the last of so many different
// shops' in a row. Where none was usable before, those and the activations in
// flight are together no more than the pause allows.
func (s *slowStart) unusable(shops int) { s.bound = max(1, slowStartBound-shops) }

// free is how many more activations may be claimed while so many are in flight.
func (s *slowStart) free(inFlight int) int {
	if s.bound == 0 {
		return unlimited
	}
	return max(0, s.bound-inFlight)
}

// heldLong is how long the slow start may hold activations back before invitations
// get more than their tenth.
const heldLong = time.Second

// beyondReserve is how many of n claims invitations may have beyond their tenth
// while the slow start holds activations back. At first there are none, because a
// few calls end it. After heldLong there are all but a reserve for the activations:
// together with those in flight as many as may be called at once, but at most nine
// tenths of each ledger. At is when that begins.
func (p *Pool) beyondReserve(acc *account, n, free, inFlight int, now time.Time) (beyond int, at time.Time) {
	switch {
	case n <= free:
		acc.heldSince = time.Time{}
		return 0, at
	case acc.heldSince.IsZero():
		acc.heldSince = now
	}
	if at = acc.heldSince.Add(heldLong); now.Before(at) {
		return 0, at
	}
	most := min(p.cfg.Concurrency, (p.room.own+p.room.shared)/2, nineTenths(acc.ledger.Limit), nineTenths(p.cfg.EgressRequests))
	return max(0, n-free-max(0, most-inFlight)), time.Time{}
}

func nineTenths(n int) int { return n - max(1, n/10) }
