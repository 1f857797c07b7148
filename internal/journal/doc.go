// Package journal is the contract of the durable store: positions, inbox,
// operations, receipts, rate limits (ledgers), outbox, accounts and audit. Kafka only
// transports events. After a restart the worker continues with what is due in the
// journal.
//
// # Packages
//
// Package steps makes every change of the journal once for both databases: it
// loads rows, decides in Go, and hands back the changed rows. Package rows
// describes the rows as Go structs, and package schema creates the tables. Packages
// sqlite and postgres open the database, run transactions, read and write rows, and
// count permits. Package journaltest is the conformance suite of both, and package
// twin compares them under the same random calls. Package move copies a journal
// from SQLite to PostgreSQL.
//
// # Guarantees
//
//   - A method that changes rows returns after the commit, or with an error and
//     without the change. If a context ended or the database went away during a
//     commit, the outcome is unknown. Each step compares position, claim, state,
//     attempt number or version, so that it can be repeated safely.
//   - A batch of records and the position after it are committed together. The
//     position passes only records that are in the inbox, dead letters, or skipped by
//     the consumer.
//   - One worker at a time has the claim of an operation. One operation at a time holds
//     the lane of its shop, in the order in which their runs began.
//   - An attempt is committed, together with its permits, before its request is sent.
//     No sliding window of a ledger contains more requests than the limit, also after
//     a restart.
//   - A receipt is saved whatever the state of its operation is.
//   - An outgoing event is encoded in the transaction that causes it. Its sequence
//     increases within the shop, the outbox has the order of the commits, and a
//     repeated event has the same bytes.
//   - One of the processes that share the journal has the relay lease ([RelayLeases])
//     and publishes. Another can acquire a lease that was not renewed for a few
//     seconds; after that the first cannot mark events.
//   - An operator action ([Intent]) is executed or refused once. Its end, its effect
//     and its audit entry are one commit.
//   - Every sealed value and every keyed digest names its key.
//   - An active shop has one review of its current credentials: the time and the
//     result of their verification. A review is claimed like an operation.
//
// # Limits
//
// The journal makes no decisions: the [Planner] decides what an event leads to, and the
// caller of Apply decides what an outcome leads to. It decrypts nothing: addresses,
// codes, responses and tokens are sealed, and it never logs a value. It deletes rows
// only on request: see [Journal.Prune] and [TableRows], which docs/operations.md shows.
//
// # States
//
// Planned and Waiting are claimed in stage Call and become Claimed; Received, Stored and
// Unknown are claimed in stage Settle and keep their state. A claim raises the operation's
// claim number, and every later step names it. After Apply its caller has the operation
// until the next claim. If Apply moves an operation back to Planned or Waiting while
// another holds the lane, it becomes Queued. An operation that steps Behind is Queued
// until all operations that were queued before it have left the lane. docs/architecture.md
// draws the states.
//
// # Failures
//
//	process killed          acknowledged changes are durable; leases end at the next opening:
//	                        Claimed becomes Planned, Sending becomes Unknown with doubt
//	worker stalled          its lease ends, another claims, its late step is ErrStale; its late
//	                        response is saved by SaveResponse
//	response saved twice    the second time changes nothing
//	clock stepped           no effect while the process runs; at the next opening no wait is longer
//	                        than the original one, and if the clock was set forward all rate
//	                        limits count as used up
//	database full or gone   the step fails (ErrFull, ErrDisk, ErrUnreachable, see [Waits]) in bounded
//	                        time; later steps are tried again
//	late standby, old copy  every step but SaveResponse is ErrCopy until [Journal.Recover], where the
//	                        database can tell
//	disk almost full        no call can begin; calls in flight have room to end
//	one step fails          the other steps of its transaction are committed
package journal
