package journal

// Kind is what an operation intends outside.
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

// State is where an operation stands. The edges between states are business
// and live in package onboarding; the journal compares the state that a
// transition starts from and never chooses one by itself, but for what
// [Journal.ReleaseExpiredLeases] says.
type State uint8

// The states. Their numbers are stored; those below Attention are open.
const (
	Queued     State = 1  // behind another operation of its shop's lane
	Planned    State = 2  // at the head of its lane, to be called when due
	Waiting    State = 3  // as Planned, after an attempt that was not executed
	Claimed    State = 4  // leased to a worker; nothing can have been sent
	Sending    State = 5  // leased; a request may be on its way
	Received   State = 6  // the whole answer is durable; nothing is left to send
	Stored     State = 7  // the secret is stored, its verification goes on
	Unknown    State = 8  // a request may have been executed, nobody knows
	Attention  State = 20 // waits for a person
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

// HoldsLane tells whether an operation in s keeps the later operations of its
// shop from starting.
func (s State) HoldsLane() bool { return s >= Planned && s <= Received || s == Unknown }

// Open tells whether the worker, not a person, still has something to do.
func (s State) Open() bool { return s < Attention }

// Stage says what a claim is for.
type Stage uint8

// The stages of work that can be claimed.
const (
	Call   Stage = 1 // Planned, Waiting: wants a permit and an open circuit breaker
	Settle Stage = 2 // Received, Stored, Unknown, and ended ones with a late receipt: wants neither
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
