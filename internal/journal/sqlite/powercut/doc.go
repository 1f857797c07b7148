// Package powercut records what SQLite writes and syncs, so that a test can cut the power
// at any moment of a run and examine what the disk would contain.
//
// [Start] registers itself between SQLite and the operating system, as the process's
// default VFS. Every call goes through to the real file, and every write is recorded in
// one order. A moment is a number of records ([Log.Now]). [Log.Image] creates the files as
// they would be after a power cut at that moment. Synced data is in them. Of later writes
// they contain nothing or, with a seed, any part in sectors of 512 bytes.
//
// # What it does not
//
// It does not test the disk, nor whether the operating system's fsync is reliable. An
// image does not contain the shared memory beside a WAL, which does not survive the
// system. The deletion of a file counts as durable at once.
//
// It is for tests. A process can use one Log at a time.
package powercut
