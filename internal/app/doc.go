// Package app wires the service together: the programs, and the tests that run a whole
// worker, call [Run] with [Options].
//
// # Guarantees
//
//   - Everything that can be checked is checked before anything is started: the settings
//     against each other, the listener, the journal, the keyset against the journal, the
//     accounts, the brokers and every topic, the partner's tokens. Errors are reported
//     within seconds, as a [config.Error] or with the next step.
//   - When the context ends, the consumer and the pool stop taking work, calls in flight are
//     awaited for the drain time, the relay publishes their results, and Run returns nil.
//   - When a part fails, panics or ends unexpectedly, the others drain in the same way and
//     Run returns an error that names the part.
//   - Everything that was opened is closed in reverse order, within a time limit. Errors
//     name the step.
//
// # Tokens at the start
//
// Run checks once whether Invoicebox accepts each account's token; the check takes a
// permit like every request. If every token is refused, the start fails. If some are, or the
// API does not respond, the service starts and the circuit breakers of the accounts decide.
//
// # Restores
//
// Backup copies the journal beside a service. [Recover] continues from a copy, with the
// service stopped, and can be run again when it was interrupted. It recovers only if
// something shows that the journal was restored (the copy's mark, a recovery that did not
// end, a group that is ahead, an input topic that was created again), or if the operator asks for it.
// It refuses if topics no longer hold all records since the copy, unless the operator
// accepts the loss. Records of the result topics from other producers are counted and
// ignored.
//
// # Health
//
// /livez fails only if a loop has made no step for minutes although the journal can be
// written: then a restart helps. /readyz reports whether journal, consumer and relay can
// do their work. The check of the journal writes, at most every five seconds. /metrics has
// a registry of its own. Its gauges of the journal are read in the background, so a scrape
// never waits for the journal.
//
// # Limits
//
// The package installs no signal handler and never exits the process. A panic in a
// goroutine that a component started ends the process. The journal handles that like any
// crash.
package app
