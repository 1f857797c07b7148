package sqlite

import "errors"

// ErrOpenToOthers says that other users can read or replace the journal's files.
var ErrOpenToOthers = errors.New("journal: its files are not its owner's only")
