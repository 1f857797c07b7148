package journal

// Kind is the intended effect of an operation at Invoicebox.
type Kind uint8

// The kinds of operations. Their numbers are stored.
const (
	Invite   Kind = 1 // one e-mail with a registration link
	Activate Kind = 2 // one activation code turned into merchant id and token
)

func (k Kind) String() string {
	switch k {
	case Invite:
		return "invite"
	case Activate:
		return "activate"
	}
	return "unknown_kind"
}

// State is the state of an operation. Package onboarding decides the transitions. The
// journal compares the state from which a transition starts. It chooses a state by itself
// only in [Journal.ReleaseExpiredLeases].
type State uint8

// The states. Their numbers are stored; those below Attention are open.
const (
	Queued     State = 1  // behind another operation of its shop's lane
	Planned    State = 2  // at the head of its lane, to be called when due
	Waiting    State = 3  // as Planned, after an attempt that was not executed
	Claimed    State = 4  // leased to a worker; nothing can have been sent
	Sending    State = 5  // leased; a request may be on its way
	Received   State = 6  // the whole response is durable; nothing is left to send
	Stored     State = 7  // the secret is stored and is being verified
	Unknown    State = 8  // nothing proves whether the last request was executed
	Attention  State = 20 // waits for an operator
	Done       State = 30
	Superseded State = 31 // ended without an event of its own
)

var stateNames = map[State]string{
	Queued: "queued", Planned: "planned", Waiting: "waiting", Claimed: "claimed", Sending: "sending", Received: "received",
	Stored: "stored", Unknown: "unknown", Attention: "attention", Done: "done", Superseded: "superseded",
}

func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return "unknown_state"
}

// HoldsLane reports whether an operation in s prevents the later operations of its shop
// from starting.
func (s State) HoldsLane() bool { return s >= Planned && s <= Received || s == Unknown }

// Open reports whether the worker, not an operator, still has something to do.
func (s State) Open() bool { return s < Attention }

// Stage says what a claim is for.
type Stage uint8

// The stages of work that can be claimed.
const (
	Call   Stage = 1 // Planned, Waiting: needs a permit and an active circuit breaker
	Settle Stage = 2 // Received, Stored, Unknown, and ended ones with a late receipt: needs neither
)

// StageOf returns the stage in which an operation in s is claimed, 0 for none.
func StageOf(s State) Stage {
	switch s {
	case Planned, Waiting:
		return Call
	case Received, Stored, Unknown:
		return Settle
	}
	return 0
}
