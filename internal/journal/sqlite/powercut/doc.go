// Package powercut records what SQLite writes and syncs, so that a test can cut
// the power at any moment of a run and look at what the disk would hold.
//
// [Start] puts itself between SQLite and the operating system, as the process's
// default VFS: every call goes through to the real file, and what it wrote is
// noted in one order with everything else. A moment is a number of notes
// ([Log.Now]). [Log.Image] makes the files anew as they would be after a power
// cut at that moment: what was synced by then is there; of what was written
// since nothing is there, or, with a seed, any part of it, in sectors of 512
// bytes.
//
// # What it does not
//
// It does not test the disk, nor whether the operating system's fsync keeps its
// word. The shared memory beside a WAL is not in an image: it does not outlive
// the system. Deleting a file is taken as durable at once.
//
// It is for tests, and one at a time in a process.
package powercut
