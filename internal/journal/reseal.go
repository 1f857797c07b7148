package journal

// A SealedColumn is a column whose values can be sealed again with another key.
type SealedColumn uint8

// The columns. The token of an operator action is not among them: the action's MAC
// covers it, and it is erased when the action has ended.
const (
	SealedSubjects    SealedColumn = iota + 1 // addresses and codes
	SealedResponses                           // of Invoicebox
	SealedCredentials                         // merchant ids and tokens
	SealedDeadLetters                         // records
	SealedCheck                               // the value of SetKeysetCheck; it is not bound to the journal's origin
)

// Name returns the table and the column, with a dot between.
func (c SealedColumn) Name() string {
	return [...]string{
		SealedSubjects: "event.subject", SealedResponses: "attempt.answer", SealedCredentials: "credential.secret",
		SealedDeadLetters: "dead_letter.record", SealedCheck: "meta.keyset_check",
	}[c]
}

// SealedColumns lists them all.
func SealedColumns() (list []SealedColumn) {
	for c := SealedSubjects; c <= SealedCheck; c++ {
		list = append(list, c)
	}
	return list
}

// A SealedID is the place of a value in its column.
type SealedID struct{ ID, Version int64 }

// A Reseal asks to seal values of one column with a key, in one small step.
type Reseal struct {
	Column SealedColumn
	Key    uint32   // of the keyset; values that are sealed with it are unchanged
	After  SealedID // values above it; zero from the first
	Limit  int      // values, 1 to 1000
}

// A Sealer opens a value and seals it again for the same row.
type Sealer func(row string, sealed []byte) ([]byte, error)

// Resealed is the result of Reseal.
type Resealed struct {
	Rows       int      // that were sealed again
	Unreadable int      // that the sealer refused; they are unchanged
	Next       SealedID // where to continue; zero: nothing comes after
}
