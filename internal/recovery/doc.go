// Package recovery continues a restored journal: it imports what was published since
// the copy was made, and reads the inputs again.
//
// # Guarantees
//
//   - Nothing is changed before it is known which records no topic holds any more. If
//     some are missing, Run refuses unless the operator accepts the loss.
//   - An event that was published is imported with its bytes and its sequence; a later
//     event never reuses a sequence.
//   - An input that is read again is planned at its own time ([ReplayClock]).
//   - An operation that may have been sent after the copy is in doubt afterwards.
//   - An interrupted recovery can be run again.
//   - While it runs it is the only member of the consumer group. Afterwards the journal
//     has another identity, and the broker refuses workers with the lost journal.
//
// Package consumer reads the topics, [journal.Journal] stores what they contain, and
// package onboarding decides how each operation continues.
//
// docs/operations.md describes how to restore a copy.
package recovery
