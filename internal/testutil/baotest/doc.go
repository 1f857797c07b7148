// Package baotest starts OpenBao servers for tests: the real program, with integrated
// storage, TLS, an audit log and a KV version 2 mount named "secret", on loopback and
// a free port, in a folder of the test. It is for tests only. A server can be sealed,
// unsealed, ended, killed and started again.
//
// The program is the file that INVOICEBOX_TEST_OPENBAO names, or "bao" in the PATH. A
// test that needs it is skipped where there is none, or where that variable is none,
// unless INVOICEBOX_TEST_REQUIRE holds the word openbao: then its absence is a
// failure.
package baotest
