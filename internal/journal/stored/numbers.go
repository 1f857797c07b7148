package stored

import "invoicebox-worker/internal/journal"

// Places of an open operation in its shop's lane.
const (
	LaneHeld   = int64(1)
	LaneQueued = int64(2)
	LaneBeside = int64(3)
	LaneLast   = int64(4) // behind all queued operations
)

// SameEnd is by how many microseconds two equal ends of a circuit breaker may differ,
// because they are converted from one clock to another.
const SameEnd = int64(10_000)

// Lane returns the column lane of a state: nil for an ended one.
func Lane(s journal.State) any {
	switch {
	case s == journal.Queued:
		return LaneQueued
	case s.HoldsLane():
		return LaneHeld
	case s.Open():
		return LaneBeside
	}
	return nil
}

// LaneOrder is the place in the lane of a run that an event begins.
func LaneOrder(event int64) int64 { return 2 * event }

// Cancellable reports whether an operation in this state was not sent, and can be
// superseded by a plan.
func Cancellable(s journal.State) bool {
	return s == journal.Queued || s == journal.Planned || s == journal.Waiting
}

// What an event led to.
const (
	ExitPlanned  = int64(1)
	ExitJoined   = int64(2)
	ExitRerun    = int64(3)
	ExitAnswered = int64(4)
	ExitKept     = int64(5)
)

var exits = [...]string{ExitPlanned: "planned", ExitJoined: "joined", ExitRerun: "rerun", ExitAnswered: "answered", ExitKept: "kept"}

// Exit names an exit; "" for an unknown number.
func Exit(n int64) string {
	if n < 0 || n >= int64(len(exits)) {
		return ""
	}
	return exits[n]
}

var circuits = [...]journal.CircuitState{1: journal.CircuitActive, 2: journal.CircuitThrottled, 3: journal.CircuitBackingOff, 4: journal.CircuitPaused}

// CircuitNumber returns the number of a circuit breaker's state, 0 for an unknown one.
func CircuitNumber(s journal.CircuitState) int64 {
	for n, g := range circuits {
		if n > 0 && g == s {
			return int64(n)
		}
	}
	return 0
}

// Circuit returns the state of a number; "" for an unknown one.
func Circuit(n int64) journal.CircuitState {
	if n < 0 || n >= int64(len(circuits)) {
		return ""
	}
	return circuits[n]
}

// Flag returns a bool as a number.
func Flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
