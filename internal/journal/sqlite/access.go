package sqlite

import "errors"

// ErrOpenToOthers reports that other users can read or replace the journal's files.
var ErrOpenToOthers = errors.New("journal: other users can read or replace its files")
