package breaker

// SlowStartBound is how many activations of an account may be in flight before a
// response has proved usable. Their codes are spent even if no response can be used.
// The bound is as many codes as are spent before the pause for unusable responses.
const SlowStartBound = UnusableToPause

// A slowStart bounds the activations of an account that are in flight in this
// process, from their claim to the end of their work. It grows with each response
// that was stored, and starts again with each one that cannot be used. A refusal
// changes nothing: it does not show that a success can be read.
type slowStart struct {
	limit int // the concurrency: a bound that has reached it ends
	bound int // 0: none
}

func newSlowStart(concurrency int) slowStart {
	return slowStart{limit: concurrency, bound: SlowStartBound}
}

// usable records a response that was stored.
func (s *slowStart) usable() {
	if s.bound *= 2; s.bound >= s.limit {
		s.bound = 0
	}
}

// unusable records a response that cannot be used, the last of so many in a row, each
// of another shop. If none was usable before, these responses and the activations in
// flight together do not exceed the number that leads to the pause.
func (s *slowStart) unusable(shops int) { s.bound = max(1, SlowStartBound-shops) }

// free is how many more activations may be claimed while so many are in flight.
func (s *slowStart) free(inFlight int) int {
	if s.bound == 0 {
		return Unlimited
	}
	return max(0, s.bound-inFlight)
}
