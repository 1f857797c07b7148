package journal

import "time"

// A PruneTarget is a kind of rows that Prune deletes when they are old.
type PruneTarget uint8

// The kinds, in the order in which they are best pruned: rows of a kind can be needed by
// rows of the kinds before it.
const (
	PruneResponses   PruneTarget = iota + 1 // the responses in attempts of ended operations whose credentials were verified or replaced; their rows stay
	PruneOperations                         // ended invitations of which there is a later one to the same address
	PruneAttempts                           // requests of ended operations, and checks
	PruneEvents                             // the inbox: identities of events, and events that did not begin the run of an operation
	PruneResults                            // published events
	PruneIntents                            // ended operator actions
	PruneDeadLetters                        // with their records and the events that reported them
)

var forgettables = [...]string{
	PruneResponses: "responses", PruneOperations: "operations", PruneAttempts: "attempts", PruneEvents: "events", PruneResults: "results",
	PruneIntents: "intents", PruneDeadLetters: "dead_letters",
}

func (f PruneTarget) String() string {
	if int(f) < len(forgettables) {
		return forgettables[f]
	}
	return ""
}

// PruneTargets lists all kinds in their order.
func PruneTargets() (list []PruneTarget) {
	for f := PruneResponses; int(f) < len(forgettables); f++ {
		list = append(list, f)
	}
	return list
}

// A Prune is a request to delete rows of one kind, in one small transaction.
type Prune struct {
	What  PruneTarget
	Keep  time.Duration // younger rows stay
	After int64         // rows above it; 0 from the oldest
	Limit int           // rows to examine, 1 to 1000

	// Uptime is for how long, by a monotonic clock, the caller has run since its last
	// Prune. Ages are counted by a time that advances by at most [PruneSpeed] times as
	// much and is never ahead of the clock: when the clock is set forward by years,
	// nothing is deleted at once. That time begins with the oldest event.
	Uptime time.Duration
}

// PruneSpeed is how many times as fast as the uptime the time may advance by which ages
// are counted. It matters after a clock was set forward, or if no worker ran.
const PruneSpeed = 24

// A Pruned is the result of Prune.
type Pruned struct {
	Rows int   // deleted rows of all tables, and those of which a part was erased
	Next int64 // where to continue; 0: the following rows are too young, or there are none
}

// A TableRow describes which rows of a table are deleted.
type TableRow struct {
	Table  string
	Target PruneTarget // 0: nothing, or not by Prune
	Goes   string      // "": nothing
	Stays  string
}

// TableRows describes all tables, for documents and tests.
func TableRows() []TableRow {
	return []TableRow{
		{"account", 0, "", "all"},
		{"announced", 0, "at the end of a recovery", "nothing"},
		{"attempt", PruneAttempts, "of ended operations, and checks; a response, a week after its credentials were verified", "without an end, or with a response; the newest"},
		{"audit", 0, "", "all: it is append-only"},
		{"audit_detail", 0, "of a shop that is erased", "all others"},
		{"credential", 0, "the secret, some time after it was replaced or its shop was disconnected", "all else: published references are answered"},
		{"dead_letter", PruneDeadLetters, "when its event was published", "the newest"},
		{"event", PruneEvents, "all others", "one that began the latest run of an operation, without its identity; what it holds of the operation that it created; the newest"},
		{"intent", PruneIntents, "that have ended", "that wait; the newest"},
		{"key_use", 0, "", "all: a row for each key"},
		{"ledger", 0, "", "all"},
		{"meta", 0, "", "all"},
		{"operation", PruneOperations, "ended invitations that were sent again later", "all others: keys, runs, and for activations their codes"},
		{"outbox", PruneResults, "published, of ended operations", "a shop's current activation and its last event; the newest"},
		{"outbox_pending", 0, "when its event was published again", "nothing"},
		{"permit", 0, "when a later one is taken and its window has passed", "nothing"},
		{"position", 0, "", "all"},
		{"published_end", 0, "", "all: where a recovery begins to read"},
		{"pulse", 0, "a while after its process has ended", "nothing"},
		{"relay_lease", 0, "", "its one row"},
		{"replica", 0, "when it is gone", "nothing"},
		{"schema_version", 0, "", "all"},
		{"shop", 0, "", "all: sequence, versions, merchant, review, next reminder"},
		{"topic", 0, "", "all"},
	}
}
