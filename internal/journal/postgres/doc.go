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
// # What is forgotten
//
// One replica prunes at a time; others that ask meanwhile find nothing to do. Rows
// go by their primary keys, a few in a transaction. Autovacuum makes their room
// usable again; its defaults do, because what goes in a day is a small part of
// what stays.
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
//	replica gone             what it had claimed is due as soon as another looks; a review that
//	                         it had taken is due when its claim ends
//	clock stepped back       while no replica ran: what ended before is taken as ended at
//	                         the start. While replicas run, nothing is hurried; leases and
//	                         permits end by the new clock
//
// # What it does not
//
// It does not create the database or the schema. Ids have
// gaps, and counts that rest on them (events, dead letters in Stats) count the
// gaps. Room.Used holds what the tables will use again. The bound of waiting
// intents may be passed by as many as replicas append at one moment.
package postgres
