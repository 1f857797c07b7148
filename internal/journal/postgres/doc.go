// Package postgres is the journal in a PostgreSQL database (14 or later), for any
// number of worker processes, its replicas.
//
// # How it works
//
// Package steps implements the journal's methods over rows. This package loads and
// saves the rows, and implements what differs on PostgreSQL: locks between replicas,
// the rate limits in the database, its clock, sessions, the relay lease, and the
// checks after a fail-over.
//
// Each process has one writer: a goroutine with one connection. Each method queues a
// request and waits. The writer runs all queued requests in one transaction (at most
// 256 requests; it does not wait for more). Steps of operations run before intake;
// each transaction includes intake if some waits. One round trip begins the
// transaction, acquires the locks, reads the clock and loads the rows that the
// requests named. Another saves the changes, with at most one INSERT, UPDATE and
// DELETE for each table, and commits.
//
// A request that fails before it has run a statement is rolled back in memory, and
// the others are committed. When one fails after that, or the server rejects a
// statement, the transaction is rolled back and each request is run again in a
// transaction of its own.
//
// The server caches the plans of the writer's statements. A plan that was made while
// the tables were small may read a whole index, so the statements are planned again
// after the first 1,000 statements, then after twice as many, and later every 50,000.
//
// Locks are acquired in one order. Shops are locked by id at the beginning. What all
// replicas change is locked by the last statements, which are sent together with
// COMMIT: rows of permits, ledgers by id, then the outbox. So replicas wait for each
// other only while one of them commits, and deadlocks are rare; after one the server
// aborts one of the transactions, and the writer runs it again.
//
// A journal is the tables of one schema, the first of the search_path. Several
// may share a database.
//
// # Sessions
//
// Every transaction names its isolation level, READ COMMITTED: permits are taken
// from a ledger with what others have committed before it was locked. All other
// settings on which something rests are set when a connection is there, and read
// back; the defaults of the server, the database and the role do not count.
// default_transaction_read_only is the exception: where it is on, the journal is
// refused, or waits, because managed servers set it before their disk is full.
//
// A pooler that gives every transaction another session is refused with
// [ErrPooled]: two connections that are open at the same time must be served by
// two processes, and keep them. A pooler in session mode is as good as none.
//
// Beyond loopback and sockets a URL says sslmode=verify-full, or spells out less;
// see [URLError] and [Weakness].
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
// A ledger is a row that counts how many permits were ever taken. A transaction counts
// the permits that are left without a lock. When it commits it increases the row, and
// fails if others have taken more since its count than were left; then it is run again
// with the ledgers locked from the beginning. So no window holds more than the limit,
// whoever dies when: the permits of a process that is gone come back when its deadlines,
// slack and a window have passed. A count that leaves plenty is used again for a second.
// With a cool-down of addresses the ledgers are locked from the beginning.
//
// Rows of the outbox become visible in the order of their numbers: who adds one
// holds a lock from the first number to the end of its transaction. Until the last
// statements negative numbers stand for those that the rows will get.
//
// # The relay lease
//
// The relay lease is a row with a term and an expiry by the database's clock, 5 s
// after it was acquired or renewed. Another replica acquires it after the expiry,
// whatever became of the holder, or at once after a release, which NOTIFY reports.
// The end of a session does not release it, because a process that lost its
// session may still be publishing. The holder considers the lease expired half a
// second earlier than the database does. A database's clock that is set forward
// can give the lease to a second replica while the first one considers it valid
// for the rest of its 5 s: then the same events are published twice, with the same
// bytes and sequence. The same happens when a standby that took over lacks an
// acquisition; the terms of the two differ.
//
// # Versions
//
// The migrations are those of package schema. Every one writes into schema_version
// which version of the program is the oldest that can work with the tables as they
// are afterwards. So an old replica goes on, and can begin again, beside a new one
// that has added something; where something was taken away it is refused with
// [journal.ErrNewer]. One that still runs then notices with its next transaction, as
// the number is read at the beginning of each: it changes nothing more, claims
// nothing and publishes nothing. Migrations run under an advisory lock, one replica
// at a time.
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
// every step but SaveResponse with [journal.ErrCopy], and none opens it but for a
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
// journal opened ReadOnly); an old primary that can be written again, by a process
// that began after the fail-over and reaches no other. A process that lost its
// session, committed once more and died is waited for in vain. A restored base
// backup of a server with a synchronous standby looks like a fail-over: there the
// consumer group's offsets tell, or the operator.
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
// # A journal that is moved here
//
// [Target] takes a journal from package move into an empty database. Until all of
// it is there and was compared, Open refuses the database with
// [journal.ErrUnfinished]. The worker that had the journal is a replica that is
// gone: the first one here ends its leases. Attempts come with their permits, for
// windows of up to [LongestWindow].
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
//	server gone, fail-over   steps fail with ErrUnreachable, or nobody knows whether they were
//	                         committed; the comparison in each step makes a second try safe; the
//	                         connection is made anew with the next step. Of a URL that names
//	                         several servers the one that can be written is taken
//	server frozen, network   the same: a transaction is given up after 20 s, a read after 30 s, a
//	cut without a word       connection to one server after 5 s, a session that is silent after 10 s.
//	                         A call takes at most the transaction under way and its own; where a request
//	                         fails the transaction for the others, three times that
//	no connection left,      ErrUnreachable with words for it; the server is asked again with each
//	standby, read only       step
//	session or statement     the transaction is made again, once as a whole, then each request alone
//	ended by somebody
//	session lost             others may have ended its leases: then it has another number
//	process stopped          a transaction that it left open is ended by the server after 10 s
//	disk full, I/O error     the transaction fails with ErrFull or ErrDisk, later ones are tried
//	                         anew; a server whose log finds no room stops, and is gone. How much is free only the server knows: nothing is kept for
//	                         what is in flight, so watch the server's disk
//	relay dead, stopped or   another replica publishes 5 s after the lease was renewed last. It
//	cut off                  begins with what was not marked; later marks of the old relay are
//	                         refused, because their term is old
//	standby lacks commits    see Fail-over
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
// gaps. Capacity.Used holds what the tables will use again. The bound of waiting
// intents may be passed by as many as replicas append at one moment.
//
// INVOICEBOX_TEST_OUTAGE=full lets the tests of outages, here and of package
// onboarding, take a minute for each, and adds some.
package postgres
