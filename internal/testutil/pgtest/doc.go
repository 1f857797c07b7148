// Package pgtest starts PostgreSQL servers for tests: the machine's own
// binaries, on loopback and a free port, in a folder of the test. It is for tests
// only. A server can be ended and started again, can hang, and can have a streaming
// replica that takes over, late if wanted. A [Proxy] before it is a network that is
// slow, or is cut without a word, and [Server.Pooler] is a PgBouncer before it.
// The servers of one process begin as copies of the first, and have its system identifier.
//
// The binaries are found in the folder that INVOICEBOX_TEST_POSTGRES names, in
// the PATH, or where Debian puts them. A test that needs a server is skipped
// where there are none, or where that variable is none, unless INVOICEBOX_TEST_REQUIRE holds the word postgres:
// then their absence is a failure. A server refuses to run as root; so there it
// runs as the user postgres or nobody.
package pgtest
