package journal

// MaxReplays bounds how often a dead letter is replayed, so that a record that fails each
// time is not replayed for ever.
const MaxReplays = 5

// A Replay is the record of a dead letter that is replayed. If both Event and Failed are
// nil, the record was read and is ignored.
type Replay struct {
	ID      int64 // of the dead letter
	Replays int   // how often its record was replayed, as listed
	Topic   string
	// Partition and the offset are the position of the record.
	Partition int
	Event     *Event      // the record's event
	Failed    *DeadLetter // why the record failed again; only EventID, Reason, Where and Shop are used
}

// A ReplayOutcome is the outcome of a replay. The set is closed.
type ReplayOutcome string

// The outcomes. A dead letter whose record failed again stays one, with the new reason.
const (
	ReplayAccepted ReplayOutcome = "accepted" // its event is in the inbox
	ReplayRepeated ReplayOutcome = "repeated" // its event was in the inbox
	ReplayIgnored  ReplayOutcome = "ignored"  // as the record of another provider
	ReplayFailed   ReplayOutcome = "failed"
)
