// Package worker wires the service together: the programs and the tests that
// run a whole worker call [Run] with [Options].
//
// # What it guarantees
//
//   - Nothing is started before everything has been tried that can be tried:
//     the settings against each other, the listener, the journal, the keyset
//     against the journal, the accounts, the brokers and every topic, the
//     partner's tokens. What is wrong is told as a [SettingError] or in words
//     that say what to do, within seconds.
//   - When the context ends, the consumer and the pool stop taking work, calls
//     in flight are awaited for the drain time, the relay publishes what came of
//     them, and Run returns nil.
//   - When a part fails, panics or ends by itself, the others drain in the same
//     way and Run returns an error that names the part.
//   - What was opened is given back in reverse order, each step by name, within
//     a bound.
//
// # What it does not
//
// It installs no signal handler and never exits the process: that is main's. A
// panic in a goroutine that a part has started by itself cannot be caught and
// ends the process; the journal makes that a crash like any other.
//
// # Tokens at the start
//
// A start looks once whether Invoicebox knows each account's token; the look
// takes a permit like every request. Where every token is refused the start
// fails. Where some are, or the API does not answer, the service starts: the
// gates of the accounts decide, and the intake goes on.
//
// # Restores
//
// Backup copies the journal beside a service; [Recover] goes on from a copy, with
// the service stopped, and can be made again when it was cut short. It recovers
// only where something shows that the journal was restored (the copy's own mark,
// a recovery that did not end, a group that is ahead, an input topic that was made
// anew) or where it is told to. It refuses where topics do not hold any more
// what came since the copy, unless it is told to accept that. Records of the
// result topics that are not this service's, or of accounts that it does not
// have, are counted and left alone.
//
// # Health
//
// /livez says that the process answers. /readyz says of journal, consumer and
// relay in words whether they can do their work; for the journal it writes, at
// most every five seconds, what lies there already. /metrics has a registry of its
// own; the gauges about the journal are read when they are asked for, at most
// once a second and within two seconds.
package worker
