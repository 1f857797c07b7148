package journal

import "errors"

var (
	// ErrMoved says that the journal was moved to another database: what was done
	// since is there.
	ErrMoved = errors.New("journal: it was moved to another database")
	// ErrUnfinished says that a journal is being moved here, and not all of it may
	// be there.
	ErrUnfinished = errors.New("journal: another journal is being moved into this database, and that has not ended")
)
