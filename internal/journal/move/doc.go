// Package move moves a whole journal from one database to another. It contains no SQL: the
// packages of the databases implement a [Source] and a [Target]. [Tables] and [FactFates]
// list what is moved.
//
// # Guarantees
//
//   - At no moment can workers use both journals. While rows are copied the move holds the
//     source, and the target refuses workers. Then the source is marked as moved, and only
//     after that the target becomes usable. If the process dies between the two, workers
//     can use neither, and the next run completes the move.
//   - Everything in the source is moved: an unknown fact is refused, and a test compares the
//     columns of both schemas.
//   - Before the source is marked as moved, all rows of both sides are read again and
//     compared. The first difference is reported with its table and key.
//   - Ids, digests, sealed bytes, sequences and the journal's identity are equal on both
//     sides.
//   - No window of a ledger exceeds its limit: the attempts move with it, and times are
//     converted to the target's clock; if the conversion is uncertain, to the later time.
//   - An interrupted run can be started again: each table continues after its last row. If
//     the source changed meanwhile, or the clocks were set, it starts over by itself.
//   - Memory does not grow with the journal.
//
// # States
//
//	source                     target                 which one a worker can use
//	journal                    empty                  the source
//	journal                    copying (id)           the source
//	moving (id), held          copying (id)           neither while it is held, else the source,
//	                                                  whose mark is then removed
//	moved (id)                 copying (id)           neither; the next run makes the target usable
//	moved (id)                 journal                the target
//
// # Failures
//
//	killed                     run it again
//	target gone, disk full     an error; run it again
//	worker on either side      refused with [journal.ErrHeld]
//	source a copy              refused with [journal.ErrCopy]
//	target not empty           refused with [ErrNotEmpty]
//	rows differ                a [DifferenceError]; the source stays the journal
//
// # Limits
//
// A move changes no state: the first worker that opens the target ends the leases as after
// a crash. The package does not move from PostgreSQL to SQLite. A journal with text that PostgreSQL
// cannot hold is refused with the table and key of the row.
// INVOICEBOX_MOVE_TEST_EVENTS=40000 sets the number of events that TestVolume moves.
package move
