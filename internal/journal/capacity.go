package journal

import "errors"

// The faults of a journal's disk. Callers use errors.Is.
var (
	// ErrFull: no space is left, or only the reserve for the ends of calls in flight.
	// Nothing is lost, and every later request is tried.
	ErrFull = errors.New("journal: its disk is full")
	// ErrDisk: reading or writing the disk failed.
	ErrDisk = errors.New("journal: its disk fails")
	// ErrReplaced: a file of the journal was moved, removed or replaced while the worker
	// has it open. The next start would not find later changes, so nothing is written
	// until the file is back.
	ErrReplaced = errors.New("journal: a file of it was moved, removed or replaced")
)

// Capacity is the used and the free space of a journal.
type Capacity struct {
	Used   int64 // bytes, without pages that are free again
	Free   int64 // bytes that are free on its disk; negative if unknown
	Outbox int64 // events that wait to be published
}
