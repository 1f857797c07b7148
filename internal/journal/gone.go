package journal

import "errors"

// ErrUnreachable says that the database cannot be reached, does not answer, gives out no
// connection or cannot be written just now. What was asked for is not done, or,
// where a commit was under way, nobody knows. Ask again: the journal makes its
// connections anew by itself. The words behind it say more, and hold no address,
// name or password.
var ErrUnreachable = errors.New("journal: its database cannot be reached")

// Waits tells whether an error is one that passes, or is repaired, without
// anything being wrong with what was asked for: the database is gone, or its disk
// is full or fails, or its file was moved away.
func Waits(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrFull) || errors.Is(err, ErrDisk) || errors.Is(err, ErrReplaced)
}
