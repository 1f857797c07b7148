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
// session with the database lives, and takes the same number up again when it was
// lost and none of the others has noticed. When it is gone, the others end its
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
// with [journal.ErrNotDurable].
//
// # Fail-over
//
// With asynchronous replication a standby may lack the last transactions of a
// primary that is gone: codes would be sent a second time, tokens and events be
// missing, sequences be given twice. synchronous_standby_names with
// synchronous_commit remote_write, on or remote_apply prevents it (not local,
// and not a setting that lets the primary go on alone when its standby is away).
//
// So each process counts its commits, in a row of its own that is written with
// each. On every new connection, and every 5 s, it compares: where there are fewer
// than were acknowledged to it the database has lost commits, whatever it says
// of its place. The process marks it, and from then on every process refuses
// every step but Receive with [journal.ErrCopy], and none opens it but for a
// recovery. A received answer whose attempt was lost is kept under a new attempt;
// where the whole operation was lost it stays in memory until the process ends,
// which the log says.
//
// A process that died with the primary cannot compare. So in a database whose
// timeline is another, and if commits did not have to reach a standby, all steps
// wait (ErrUnreachable) until each process that was at work has looked, which
// they do as soon as they reach it. One that does not come within a minute may
// have done more than is there: the database is refused then, too. That costs an
// operator's work only where a primary without a synchronous standby is lost
// together with a worker; going on would risk a code that is sent twice and a
// token that is lost. With a synchronous standby none is waited for. In a copy
// (another cluster or database) all that were at work are, in vain.
//
// What stays unseen: settings that changed while the standby was away; a process
// that began in what was lost and died with it; what a command had asked for (a
// journal opened ReadOnly). A restored base backup of a server with a synchronous
// standby looks like a fail-over: there the consumer group's offsets tell, or the
// operator.
//
// # Copies
//
// Copies are the server's business: pg_dump, or a base backup with its log. A
// database that was restored or copied, or whose standby took over, is noticed
// by the cluster's number, the database's and the timeline, when a connection is
// made: there is a warning, and the ledgers wait for one window and the slack.
// Where nobody was at work when a copy was made, what else is missing cannot be
// seen here: a group that is ahead of the journal tells, or the operator, who
// uses `journal recover`. A recovery begins
// only when no other replica is at work ([journal.ErrHeld]), and until its end
// none can begin. Where the role may not call pg_control_system, a copy with the
// same database number and timeline is not noticed.
//
// # Failures
//
//	server gone, fail-over   steps fail with ErrUnreachable, or nobody knows whether they were
//	                         committed; the comparison in each step makes a second try safe; the
//	                         connection is made anew with the next step. Of a URL that names
//	                         several servers the one that can be written is taken
//	server frozen, network   the same: a transaction is given up after 20 s, a read after 30 s, a
//	cut without a word       connection to one server after 5 s, a session that is silent after 10 s.
//	                         A call takes at most what is under way and its own; where one request
//	                         spoils a transaction for the others, three times that
//	no connection left,      ErrUnreachable with words for it; the server is asked again with each
//	standby, read only       step
//	session or statement     the transaction is made again, once as a whole, then each request alone
//	ended by somebody
//	session lost             others may have ended its leases: then it has another number
//	process stopped          a transaction that it left open is ended by the server after 10 s
//	disk full, I/O error     the transaction fails with ErrFull or ErrDisk, later ones are tried
//	                         anew; a server whose log finds no room stops, and is gone. How much is free only the server knows: nothing is kept for
//	                         what is in flight, so watch the server's disk
//	standby lacks commits    see Fail-over
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
//
// INVOICEBOX_TEST_OUTAGE=full lets the tests of outages, here and of package
// onboarding, take a minute for each, and adds some.
package postgres
