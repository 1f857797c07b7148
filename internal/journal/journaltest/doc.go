// Package journaltest is the conformance suite of package journal: what every
// database behind the contract must do, said once. [Run] knows nothing of the
// database that it tests; how to open one, and how to open it again after a
// crash, is the caller's part.
//
// Time is the caller's clock, set by the suite: nothing here sleeps. Sealed
// values and keyed digests come from a real keyset, because journals keep the
// key's name beside them.
//
// It does not test what is a database's own: files, locks, migrations, what a
// power cut leaves, speed.
package journaltest
