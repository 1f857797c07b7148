package journal

import "errors"

var (
	// ErrMoved reports that the journal was moved to another database, which has all later
	// changes.
	ErrMoved = errors.New("journal: it was moved to another database")
	// ErrUnfinished reports that a move into this database has not ended.
	ErrUnfinished = errors.New("journal: another journal is being moved into this database, and that has not ended")
)
