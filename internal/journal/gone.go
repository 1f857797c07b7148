package journal

import "errors"

// ErrUnreachable reports that the database cannot be reached, does not answer, provides no
// connection or cannot be written at present. The request was not executed; if a commit
// was under way, its outcome is unknown. The caller repeats the request: the journal
// reconnects by itself. The wrapped error has the details, without an address, name or
// password.
var ErrUnreachable = errors.New("journal: its database cannot be reached")

// Waits reports whether an error is temporary and the request itself is valid: the
// database is unreachable, its disk is full or fails, or its file was moved away.
func Waits(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrFull) || errors.Is(err, ErrDisk) || errors.Is(err, ErrReplaced)
}
