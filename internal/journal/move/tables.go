package move

import "strings"

// A Table describes how the rows of a table are moved.
type Table struct {
	Name string
	Keys int // how many of the first columns are its primary key
	// Columns are copied from the source; the target has columns of the same names.
	Columns []string
	// Counted are the Columns with an instant at which something is due, over or available
	// again. The database's clock counts them, so they are converted.
	Counted []string
	// Made are columns that are not copied, because they depend on the database: the
	// target fills them.
	Made []string
}

// Tables lists the tables that are copied, in that order.
func Tables() []Table {
	return []Table{
		{Name: "account", Keys: 1, Columns: words("id name partner_id created circuit circuit_reason circuit_until circuit_count circuit_since open_time open_since consecutive_rejections"),
			Counted: words("circuit_until circuit_since open_since")},
		{Name: "topic", Keys: 1, Columns: words("id name")},
		{Name: "ledger", Keys: 1, Columns: words("id name"), Made: words("kept taken")},
		{Name: "position", Keys: 2, Columns: words("topic part next_offset begun batch_last batch_epoch batch_crc")},
		{Name: "shop", Keys: 1, Columns: words(`id account name sequence version merchant_id invited_operation invited_at invited_event_time
			invited_mac invitation_id active_operation active_at active_version active_event disconnected_at remind_due reminded
			review_state review_routine review_due review_claim review_refused review_tries review_events`), Counted: words("remind_due review_due review_refused")},
		{Name: "event", Keys: 1, Columns: words(`id identity shop kind exit operation topic part record_offset event_time received digest type source
			event_id traceparent tracestate uuid mac generation key_scope subject subject_key`)},
		{Name: "operation", Keys: 1, Columns: words(`id account shop kind state stage due_at lane lane_order claim leased owner run event planned
			changed open_time attempts last_attempt waits doubt unknowns receipt received late version stored_at verified restored reason
			check_open check_slack check_ledgers check_grain check_from`),
			Counted: words("due_at planned changed stored_at verified check_from"), Made: words("replica")},
		{Name: "attempt", Keys: 1, Columns: words(`id account operation number flagged probe mac started send_by deadline slack ledgers ended
			counts_from answered not_sent slow status outcome reason code request_id answer answer_key answer_at sealed_for`),
			Counted: words("started send_by deadline ended counts_from answer_at"), Made: words("replica grain")},
		{Name: "credential", Keys: 2, Columns: words("shop version operation created reference merchant_id secret secret_key proof destroy_at destroyed"), Counted: words("destroy_at")},
		{Name: "intent", Keys: 1, Columns: words(`id uuid at actor act account operation shop note merchant_id token token_key state result
			detail ended mac`)},
		{Name: "outbox", Keys: 1, Columns: words("id shop operation sequence created event type key value headers mac published_at part record_offset again")},
		{Name: "outbox_pending", Keys: 1, Columns: words("row outbox since"), Counted: words("since")},
		{Name: "published_end", Keys: 2, Columns: words("type part next_offset")},
		{Name: "announced", Keys: 1, Columns: words("event outbox operation_uuid causation version applied")},
		{Name: "dead_letter", Keys: 1, Columns: words(`id topic part record_offset record_time received size outbox replayed replay_due replays event_id reason
			place digest record record_key account shop message_key`), Counted: words("replay_due")},
		{Name: "key_use", Keys: 2, Columns: words("purpose key since")},
		{Name: "audit", Keys: 1, Columns: words("id at actor act subject detail_hash hash")},
		{Name: "audit_detail", Keys: 1, Columns: words("id salt detail shop")},
	}
}

// MadeTables are the tables that only the target has, with the reason why nothing is
// copied into them.
func MadeTables() map[string]string {
	return map[string]string{
		"permit":         "follows from the attempts; made by the first worker",
		"replica":        "names the processes; the source's worker is one that is gone",
		"pulse":          "counts the commits of a process in the target itself",
		"relay_lease":    "who publishes at present: nobody, before the first worker",
		"schema_version": "about the tables, as the migrations",
	}
}

// A Fate is what a move does with a fact of table meta.
type Fate uint8

// The fates of facts.
const (
	Carried Fate = iota // the same on both sides
	Counted             // an instant: converted
	Left                // about the source itself: not carried
	Refused             // a journal that has it is not moved
)

// fateOf returns what the move does with a fact. The part of a name after "/" is the
// owner of the fact.
func fateOf(name string) (Fate, bool) {
	name, _, _ = strings.Cut(name, "/")
	fate, ok := FactFates()[name]
	return fate, ok
}

// FactFates lists all facts of a source.
func FactFates() map[string]Fate {
	return map[string]Fate{
		"identity": Carried, "origin": Carried, "created": Carried, "keyset_check": Carried, "recoveries": Carried, "floor": Carried,
		"history": Counted, "pruning": Counted,
		"place": Left, "clock": Left, "commits": Left, "worker": Left, "pruning_at": Left, Moving: Left, Moved: Left,
		"copied": Refused, "recovering": Refused,
	}
}

// The marks that databases store in table meta during a move.
const (
	Moving  = "moving"   // of the source: the id of the move
	Moved   = "moved_to" // of the source: [MovedMark]
	Copying = "copying"  // of the target: [State]
)

func words(list string) []string { return strings.Fields(list) }
