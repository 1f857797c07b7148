package journal

import (
	"errors"
	"fmt"
	"slices"
)

// ErrKeyMissing says that rows may have been written with a key that this
// process's keyset does not have.
var ErrKeyMissing = errors.New("journal: another process writes rows with a key that this keyset does not have")

// ErrKeyRetired reports that another process has retired a key with which this one writes
// rows. The keyset of that process lacks the key, and no row needed it when the process
// began.
var ErrKeyRetired = errors.New("journal: another process's keyset does not have a key that this keyset writes rows with")

// A KeyPurpose is what a key is for.
type KeyPurpose uint8

// The purposes. Their numbers are stored.
const (
	KeySealing KeyPurpose = 1
	KeyLookup  KeyPurpose = 2 // digests by which rows are found, and MACs over rows
)

func (p KeyPurpose) String() string {
	if p == KeySealing {
		return "sealing"
	}
	return "look-up"
}

// A Key names a key of the keyset.
type Key struct {
	Purpose KeyPurpose
	ID      uint32
}

func (k Key) String() string { return fmt.Sprintf("%s key %08x", k.Purpose, k.ID) }

// KeyRows counts the values that need a key.
type KeyRows struct {
	Key
	Rows    int64
	Columns []ColumnRows // only those with such values
}

// ColumnRows counts the values of one column.
type ColumnRows struct {
	Table, Column string
	Rows          int64
}

// A KeyColumn is a column that names the key of its value.
type KeyColumn struct {
	Purpose       KeyPurpose
	Table, Column string
	Waiting       bool // only rows whose state is 1 need the key
}

// KeysetCheckColumn stands for the value of SetKeysetCheck. The id of its key follows the
// first byte.
const KeysetCheckColumn = "keyset_check"

// KeyColumns lists the columns: those with the id of a sealing key, and those whose values
// begin with the id of a look-up key.
func KeyColumns() []KeyColumn {
	return []KeyColumn{
		{KeySealing, "event", "subject_key", false},
		{KeySealing, "attempt", "answer_key", false},
		{KeySealing, "credential", "secret_key", false},
		{KeySealing, "dead_letter", "record_key", false},
		{KeySealing, "intent", "token_key", false},
		{KeySealing, "meta", KeysetCheckColumn, false},
		{KeyLookup, "event", "mac", false},
		{KeyLookup, "attempt", "mac", false},
		{KeyLookup, "event", "digest", false},
		{KeyLookup, "shop", "invited_mac", false},
		{KeyLookup, "dead_letter", "digest", false},
		{KeyLookup, "outbox", "mac", false},
		{KeyLookup, "credential", "proof", false},
		{KeyLookup, "intent", "mac", true},
	}
}

// Retired lists the recorded keys that a process does not have; none if the process did
// not report its keys.
func Retired(used, have []Key) []Key {
	if len(have) == 0 {
		return nil
	}
	return Without(used, have)
}

// Without lists the keys of used that are not in have.
func Without(used, have []Key) (missing []Key) {
	for _, k := range used {
		if !slices.Contains(have, k) {
			missing = append(missing, k)
		}
	}
	return missing
}
