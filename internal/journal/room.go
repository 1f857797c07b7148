package journal

import "errors"

// What can be wrong with the disk below a journal. Callers use errors.Is.
var (
	// ErrFull: there is no space left, or only what is kept for the ends of what
	// is in flight. Nothing is lost, and what is asked for later is tried anew.
	ErrFull = errors.New("journal: its disk is full")
	// ErrDisk: reading or writing the disk failed.
	ErrDisk = errors.New("journal: its disk fails")
)

// Room is how much a journal holds, and how much more it can hold.
type Room struct {
	Used   int64 // bytes; without what was used once and is free again
	Free   int64 // bytes that are free on its disk; negative where nobody can say
	Outbox int64 // events that wait to be published
}
