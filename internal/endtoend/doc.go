// Package endtoend holds tests only: it looks at the worker as its users do.
//
// A test builds the real program, starts it as a process beside a broker
// (embedded, and a real Apache Kafka where there is one) and the sandbox of
// Invoicebox, sends it events, kills it, and judges by what can be seen from
// outside: the requests and effects that the sandbox counted, the topics, and
// what the commands and the journal say.
//
// The drill of a restore (restore_test.go) backs up beside a worker, goes on,
// kills the worker, loses the file, restores the copy, recovers and runs; once
// more with a recovery that is killed. It takes about a minute, most of it waiting.
package endtoend
