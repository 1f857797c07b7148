// Package move moves a whole journal from one database to another. It contains no SQL: a
// [Source] and a [Target] do, in the packages of their databases. What is moved is data: see
// [Tables] and [FactFates].
//
// # Guarantees
//
//   - At no moment can a worker run with both journals. While rows are copied the source is
//     the journal, held, and the target refuses workers. Then the source is marked as moved,
//     and only after that the target becomes usable. If the process dies between the two,
//     neither can be run, and the next run completes the move.
//   - Nothing of the source is left out: an unknown fact is refused, and a test compares the
//     columns of both schemas.
//   - Before the source is given up, all rows of both sides are read again and compared. The
//     first difference is reported with its table and key.
//   - Ids, digests, sealed bytes, sequences and the journal's identity are equal on both
//     sides.
//   - No window of a ledger exceeds its limit: the attempts move with it, and times are
//     translated to the target's clock, in doubt to later ones.
//   - An interrupted run can be started again: each table continues after its last row. If
//     the source changed meanwhile, or the clocks were set, it starts over by itself.
//   - Memory does not grow with the journal.
//
// # States
//
//	source                     target                 who can be run
//	journal                    empty                  the source
//	journal                    copying (id)           the source
//	moving (id), held          copying (id)           nobody while it is held, else the source,
//	                                                  which forgets that it was moving
//	moved (id)                 copying (id)           nobody; the next run makes the target usable
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
// It changes no state: the first worker that opens the target ends the leases as after a
// crash. It does not move from PostgreSQL to SQLite. A journal with text that PostgreSQL
// cannot hold is refused with the table and key of the row.
// INVOICEBOX_MOVE_TEST_EVENTS=40000 sets the number of events that TestVolume moves.
package move
