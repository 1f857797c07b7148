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
// # Guarantees
//
//   - Locks are acquired in one order. Shops are locked by id at the beginning. The last
//     statements, which are sent together with COMMIT, lock what all replicas change: the
//     outbox, ledgers by id, then rows of permits. A query that may read new outbox rows
//     locks the outbox earlier. After a deadlock the transaction is run again.
//   - Operations that one replica has claimed are skipped by the others. When the session
//     of a replica ends, the others end its leases.
//   - A ledger counts how many permits were ever taken. A transaction counts the permits
//     that are left without a lock. Its commit fails if others have taken more since than
//     were left; then it is run again and locks the ledgers before the count. So no window
//     contains more than the limit. A count with many permits left is used again for a
//     second. With a cool-down of addresses the ledgers are always locked before the count.
//   - Rows of the outbox become visible in the order of their ids. Negative numbers stand
//     for the ids until the last statements.
//   - The relay lease is a row with a term and an expiry by the database's clock, 5 s
//     after it was acquired or renewed. The holder considers it expired half a second
//     earlier than the database does.
//   - Leases, waits and permits are counted by the database's clock, read when a
//     transaction holds its locks.
//   - A server that is not durable is refused ([journal.ErrNotDurable]), and so is a
//     pooler in transaction mode ([ErrPooled]).
//   - A database that lost commits which were acknowledged to this process is refused
//     with [journal.ErrCopy] by all, until a recovery.
//   - A program that is too old for the tables is refused with [journal.ErrNewer].
//
// # Failures
//
//	server gone, fail-over   steps fail with ErrUnreachable, or their outcome is unknown; the comparison
//	                         in each step makes a second try safe. The next step connects again
//	server frozen, network   the same: a transaction is given up after 20 s, a read after 30 s, a
//	cut                      connection to one server after 5 s, a silent session after 10 s
//	no connection left,      ErrUnreachable, with the cause; each step asks the server again
//	standby, read only
//	session or statement     the transaction is run again, once as a whole, then each request alone
//	ended by an operator
//	session lost             the process gets another number if others have ended its leases
//	process stopped          the server ends its open transaction after 10 s
//	disk full, I/O error     the transaction fails with ErrFull or ErrDisk, later ones are tried again
//	relay dead or cut off    another publishes 5 s after the last renewal; late marks are refused by term
//	standby lacks commits    ErrCopy, or all wait until each process has compared
//	replica gone             its claimed operations are due as soon as another replica checks
//	clock stepped back       leases and permits end by the new clock, so later
//
// # Limits
//
// The package does not create the database or the schema. Ids have gaps, and counts of
// rows by their ids include the gaps. Capacity.Used includes space that the tables will
// use again. Copies are made with the server's tools.
//
// docs/postgresql.md explains sessions, replicas, versions and fail-over.
// INVOICEBOX_TEST_OUTAGE=full makes the tests of outages take a minute each.
package postgres
