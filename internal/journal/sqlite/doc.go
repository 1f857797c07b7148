// Package sqlite is the journal in one SQLite file, for one worker process.
//
// # How it works
//
// Package steps implements the journal's methods over rows. This package loads and
// saves the rows, and implements what differs on SQLite: the file and its lock, the
// rate limits in memory, the clock, backups.
//
// One goroutine writes, on one connection. Each method queues a request and waits.
// The writer runs all queued requests in one BEGIN IMMEDIATE and commits them
// together (at most 256 requests; it does not wait for more). Steps of operations
// run before intake; each commit includes intake if some waits. A request that
// fails is rolled back alone: see commit. Readers have connections of their own and
// do not wait for the writer.
//
// WAL with synchronous=FULL: a commit is one write and one sync of the log. Both
// settings are read back on every connection that writes; if one does not hold, the
// error is [journal.ErrNotDurable].
//
// Memory holds only copies of what is in the file: the rows of recent operations,
// ids, names, the shops with open invitations, and the ledgers. A ledger is a sorted
// list of instants, read from the attempt rows at its first use.
//
// # Who may open a file
//
// One worker, by a lock on `<path>.lock` that ends with the process. Commands open the
// file beside it with ReadOnly: they read, and append to the audit and the intents. The
// worker polls for waiting intents. On Linux, network file systems without working locks
// are refused with [journal.ErrNotDurable].
//
// # Copies
//
// Backup copies the file beside a worker, in one read transaction, and marks the copy:
// Open refuses it as [journal.ErrCopy] until it was recovered. A file that was copied or
// moved by other means is detected by its number and creation time (on Linux): it is
// opened, with a warning, and its ledgers wait. [Source] holds the file while package move
// reads it; a journal that was moved is refused with [journal.ErrMoved]. A worker that
// opens a file whose move was interrupted continues with it.
//
// Prune runs after everything else that waits. The file does not become smaller: its pages
// are used again, and Capacity counts them as free.
//
// # Failures
//
//	disk almost full        claims for calls and attempts fail: the rest is for receipts and outcomes
//	disk full, I/O error    the commit fails, all its requests get the error, the next commit
//	                        uses a new connection
//	error on COMMIT         the outcome is unknown; the comparison in each step makes a second
//	                        try safe
//	context ended           the caller returns at once; the step may still be executed
//	file moved, replaced    every write fails with ErrReplaced before it begins, until the file
//	                        is back; if only the log is gone, its content is saved in the database
//	process killed          acknowledged changes are there
//	log removed, old copy   commits are counted in the database and in the lock file: if some are
//	put in place            missing, Open fails with ErrCopy before it changes anything
//	file damaged, foreign, newer, held, read-only, open to others: Open reports which
//
// Package powercut tests that acknowledged changes survive a power cut. A snapshot of a
// whole disk that is put back, and a second host on a shared disk, are not detected.
package sqlite
