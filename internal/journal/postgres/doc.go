// Package postgres is the journal in a PostgreSQL database (14 or later), for any
// number of worker processes, its replicas.
//
// # How it works
//
// Each process has one writer: a goroutine with one connection. Each method
// hands it a function and waits; whatever has queued up is run in one
// transaction (at most 256 requests, no lingering), steps of operations before
// intake, intake in every transaction if it waits. Each request is written as if
// it were alone; the batch runs all of them as coroutines and sends what they
// ask for together, so that a transaction costs as many round trips as its
// longest request, not as all of them. Requests that touch one shop run one
// after the other.
//
// A request that fails before it has written takes only itself back. When one
// fails after that, or a statement is refused, nothing is committed, and each
// request of the batch is run again in a transaction of its own.
//
// All locks are taken at the beginning and in one order: shops by id, then
// ledgers by id. So two replicas rarely wait for each other in a circle; where
// they do, the server ends one of the transactions and it is made again.
//
// A journal is the tables of one schema, the first of the search_path. Several
// may share a database.
//
// # Replicas
//
// Every process holds an advisory lock with its number for as long as its
// session with the database lives. When that is gone, the others end its
// leases: what was claimed is planned again, what was being sent is unknown. It
// may be alive all the same, stopped or cut off: then its late steps are fenced
// off by the claim's number, and its late answer is kept.
//
// What is claimed by one, operations and reviews, is skipped by the others. Work,
// changed gates, permits, intents and events to publish are told to all with
// NOTIFY, also by commands that open the journal beside them with ReadOnly.
//
// The first of the replicas that begins while none is at work follows a clock
// that was stepped meanwhile, as the contract says of an opening; those that come
// to others at work do not.
//
// A ledger is a row that is locked from the count of the permits to the commit
// that takes one, so that no window holds more than the limit, whoever dies
// when: the permits of a process that is gone come back when its deadlines,
// slack and a window have passed.
//
// Rows of the outbox become visible in the order of their numbers: who adds one
// holds a lock to the end of its transaction.
//
// # Who publishes
//
// The turn to publish is a row with a number and an end by the database's clock:
// 5 s from when it was taken or kept last. Another replica takes it when the end
// has passed, whatever became of the holder, or at once when it was given back
// (NOTIFY tells). The end of a session does not free it: who lost a session may
// still be publishing. Its holder takes it as over half a second earlier than the
// database does. A database's clock that is set forward under it can give the
// turn to a second one while the first believes in it for the rest of its 5 s:
// the same events are published twice then, with the same bytes and sequence.
//
// # Versions
//
// Every migration writes into schema_version which version of the program is the
// oldest that can work with the tables as they are afterwards. So an old replica
// goes on, and can begin again, beside a new one that has added something; where
// something was taken away it is refused with [journal.ErrNewer]. One that still
// runs then notices with its next transaction, as the number is read at the
// beginning of each: it changes nothing more, claims nothing and publishes
// nothing. Migrations run under an advisory lock, one replica at a time.
//
// The rule for their authors is to expand in one release and contract in a later
// one, when no replica of the releases before the expansion is left:
//
//	expand     the row is (version, readable_by of the version before). New tables,
//	           indexes, and columns that are NULL or have a constant default; old
//	           programs name the columns that they insert, so they need not know. No
//	           new meaning for what is there, no new value of an enumeration that an
//	           old program may meet, no stricter constraint, nothing renamed. What a
//	           new column needs filled is filled by the new program, bit by bit.
//	contract   the row is (version, the first version that does without). Only here
//	           are columns and tables dropped, renamed, given another meaning or made
//	           stricter. It begins with LOCK TABLE schema_version IN ACCESS EXCLUSIVE
//	           MODE: that waits for the transactions of old programs that have looked
//	           already, and lets the next ones see the new number.
//	both       one thing a file, and short: lock_timeout is 2 s, so that workers never
//	           wait longer behind a migration that waits itself; it is tried again
//	           for two minutes. No table is rewritten or read whole under a lock: a
//	           constraint is added NOT VALID and validated in a file of its own, an
//	           index on a table that grows is made CONCURRENTLY, in a file of its own
//	           with NO TRANSACTION that first drops what a failed try has left.
//	           A file that was released is not changed again, and there is no way
//	           down: going back to an old release is what expanding allows.
//
// # Time
//
// Leases, waits and permits are counted by the database's clock. It is read when
// a transaction holds its locks. Instants that callers give or get are
// translated, if in doubt to a later one.
//
// # Durability
//
// A server with fsync, full_page_writes or synchronous_commit off is refused
// with [journal.ErrNotDurable]. With asynchronous replication the standby may
// lack the last transactions: after a fail-over to it the journal is one that was
// restored from a copy. synchronous_standby_names with synchronous_commit
// remote_write, on or remote_apply prevents that.
//
// # Copies
//
// Copies are the server's business: pg_dump, or a base backup with its log. A
// database that was restored or copied, or whose standby took over, is noticed
// by the cluster's number, the database's and the timeline, when a connection is
// made: there is a warning, and the ledgers wait for one window and the slack.
// What else is missing in it cannot be seen here: a group that is ahead of the
// journal tells, or the operator, who uses `journal recover`. A recovery begins
// only when no other replica is at work ([journal.ErrHeld]), and until its end
// none can begin. Where the role may not call pg_control_system, a copy with the
// same database number and timeline is not noticed.
//
// # Failures
//
//	server gone, fail-over   steps fail, or nobody knows whether they were committed; callers
//	                         see the error, and the comparison in each step makes a second
//	                         try safe; the connection is made anew with the next step
//	                         (a URL that names all servers, with target_session_attrs=read-write)
//	session lost             the process enters again with another number; others may have
//	                         ended its leases
//	process stopped          a transaction that it left open is ended by the server after 10 s
//	disk full, I/O error     the transaction fails with ErrFull or ErrDisk, later ones are tried
//	                         anew. How much is free only the server knows: nothing is kept for
//	                         what is in flight, so watch the server's disk
//	holder of the turn gone, another replica publishes 5 s after the turn was kept last; it
//	stopped or cut off       begins with what was not marked, and what the old one says later
//	                         is fenced off by the turn's number
//	replica gone             what it had claimed is due as soon as another looks; a review that
//	                         it had taken is due when its claim ends
//	clock stepped back       while no replica ran: what ended before is taken as ended at
//	                         the start. While replicas run, nothing is hurried; leases and
//	                         permits end by the new clock
//
// # What it does not
//
// It does not prune, and does not create the database or the schema. Ids have
// gaps, and counts that rest on them (events, dead letters in Stats) count the
// gaps. Room.Used holds what the tables will use again. The bound of waiting
// intents may be passed by as many as replicas append at one moment.
package postgres
