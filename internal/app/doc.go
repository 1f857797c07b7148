// Package app wires the service together: the programs, and the tests that run a whole
// worker, call [Run] with [Options].
//
// # Guarantees
//
//   - Everything that can be checked is checked before anything is started: the settings
//     against each other, the listener, the journal, the keyset against the journal, the
//     accounts, the brokers and every topic, the partner's tokens. Errors are reported
//     within seconds, as a [config.Error] or with what to do.
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
// It refuses if topics no longer hold all records since the copy, unless the operator accepts
// the loss.
// Records of the result topics that are not this service's are counted and left alone.
//
// # Health
//
// /livez fails only when a loop has made no step for minutes although the journal can be
// written: then a restart helps. /readyz reports for journal, consumer and relay
// whether they can do their work; the check of the journal writes, at most every five
// seconds. /metrics has a registry of its own; gauges of the journal are read on request, at
// most once a second and within two seconds.
//
// # Limits
//
// The package installs no signal handler and never exits the process. A panic in a goroutine
// that a part started by itself ends the process; the journal makes that a crash like any
// other.
package app
