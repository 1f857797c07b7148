// Package move takes a whole journal from one database to another. It speaks no
// SQL: a [Source] and a [Target] do, in the packages of their databases. What
// goes where is data: see [Tables] and [FactFates].
//
// # What it guarantees
//
//   - At no moment can a worker run with both journals. While rows are copied the
//     source is the journal, held, and the target refuses workers. Then the source
//     is marked as moved, and only after that is the target made one that a worker
//     can open: killed between the two, neither can be run, and the next run ends it.
//   - Nothing of the source is left out: a fact that is not known here is refused,
//     and a test walks the columns of both schemas.
//   - Before the source is given up, all rows of both sides are read again and
//     compared. The first that differs is named by its table and key.
//   - Ids, digests, sealed bytes, sequences and the journal's identity are equal on
//     both sides: what is sealed opens, the consumer group is the same.
//   - No window of a ledger holds more than its limit: the attempts go along, and
//     what is counted by the clock of the database is translated to the target's, in
//     doubt to later. Where it is not known what was sent last the ledgers wait.
//   - It can be killed at any moment and run again: each table goes on behind its
//     last row that is there. Where the source was worked with meanwhile, or the
//     clocks were set, it starts anew by itself.
//   - Memory does not grow with the journal.
//
// # What it does not
//
// It changes no state: what was claimed or being sent is carried as it is, and the
// first worker that opens the target ends those leases as after any crash. It does
// not move from PostgreSQL to SQLite. A journal with text that PostgreSQL cannot
// hold (a NUL byte, broken UTF-8) is refused with the table and key of the row.
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
//	target holds anything      refused with [ErrNotEmpty]
//	rows differ                a [DifferenceError]; the source stays the journal
//
// # Tests
//
// INVOICEBOX_MOVE_TEST_EVENTS=40000 makes TestVolume move a journal of so many
// events, five rows each, and tell rows a second and memory.
package move
