package journal

import "errors"

// What can be wrong with the disk below a journal. Callers use errors.Is.
var (
	// ErrFull: there is no space left, or only what is kept for the ends of what
	// is in flight. Nothing is lost, and what is asked for later is tried anew.
	ErrFull = errors.New("journal: its disk is full")
	// ErrDisk: reading or writing the disk failed.
	ErrDisk = errors.New("journal: its disk fails")
	// ErrReplaced: a file of the journal was moved, removed or replaced under the
	// worker that has it open. What would be written is in no file that the next
	// start finds, so nothing is; when the file is back, all goes on.
	ErrReplaced = errors.New("journal: a file of it was moved, removed or replaced")
)

// Capacity is how much a journal holds, and how much more it can hold.
type Capacity struct {
	Used   int64 // bytes; without what was used once and is free again
	Free   int64 // bytes that are free on its disk; negative where nobody can say
	Outbox int64 // events that wait to be published
}
