// Package journaltest is the conformance suite of package journal. Every database behind
// the contract must pass it. [Run] does not depend on the database: the caller opens it,
// and opens it again after a crash.
//
// The suite sets the clock and never sleeps. Sealed values and keyed digests come from a
// real keyset, because journals store the key's id with them.
//
// It does not test the parts that belong to one database: files, locks, migrations, power
// cuts, speed.
package journaltest
