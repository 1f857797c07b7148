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
// settings are read back on every connection that writes; one that does not
// hold is [journal.ErrNotDurable].
//
// The tables separate small rows that change from rows that are written once, and
// the indexes of pending work are partial, so that done operations cost nothing.
// The order of a shop's operations is a column: an operation is Planned only if no
// other holds its shop's lane, else Queued. The transaction that releases a lane
// plans the next operation. See package schema.
//
// Memory holds only copies of what is in the file: the rows of recent operations,
// ids, names, the shops with open invitations, and the ledgers. A ledger is a sorted
// list of instants, read from the attempt rows at its first use.
//
// # Who may open a file
//
// One worker, by a lock on `<path>.lock` that ends with the process. Commands
// open it beside the worker with ReadOnly: they read, and append to the audit
// and the intents in transactions of their own. The worker gets no signal of
// those: it polls for waiting intents, by an index. A file system
// without working locks, as network file systems are, is not for this database: on
// Linux those that are known as such are refused with [journal.ErrNotDurable]. That
// what is acknowledged survives a power cut is tested with package powercut.
//
// # Copies
//
// Backup copies the file beside a worker, in one read transaction, and marks the
// copy: Open refuses it as [journal.ErrCopy] until it was recovered. The worker
// is not held up; its log grows by what is written meanwhile. A file that was
// copied or moved by other means is noticed by its number and the time when it
// was made (on Linux): it is opened, with a warning, and its ledgers wait. What
// cannot be noticed: a snapshot of a whole disk or machine that was put back, and
// on other systems any copy but Backup's; then only a group that is ahead of the
// journal tells, or the operator, who uses `journal recover --force`.
//
// # Moving to another database
//
// [Source] holds the file as a worker does while package move reads it, and keeps
// commands beside from writing. A journal that was moved is marked: Open refuses it
// with [journal.ErrMoved], which says where it is, also beside a worker. Only a
// recovery can begin with it, as with any copy of an earlier state: for the case
// that the other database is lost. A worker that opens a file whose move was cut
// short goes on with it, and what was copied is out of date.
//
// # What is forgotten
//
// Prune runs behind all else that waits, in transactions of its own size. The file
// does not become smaller by it: its pages are used again, and Capacity counts them
// as free.
//
// # Failures
//
//	disk almost full       claims for calls and sends fail: the rest is for receipts and outcomes
//	disk full, I/O error   the commit fails, all its requests get the error, the connection
//	                       is made anew for the next commit
//	error on COMMIT        nobody knows whether it is there; callers see the error, and the
//	                       comparison in each step makes a second try safe
//	context ended          the caller returns at once; the step may happen all the same
//	file moved, removed,   every write fails with ErrReplaced before it begins, until the file is back;
//	replaced               where only the log is gone, what it held is saved in the database
//	process killed         what was acknowledged is there
//	log removed after      commits are counted in the database and in the lock file: where some are
//	that, or an old copy   missing, Open fails with ErrCopy before it changes anything. The lock file
//	in its place           is not synced: what a power cut takes from it is not missed
//	file damaged, foreign, newer, held, read-only, open to others: Open says which
//
// # What it does not
//
// It does not check the whole file at opening, and does not
// guard against a second host on a shared disk.
package sqlite
