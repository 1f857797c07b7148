// Package endtoend holds tests only: it looks at the worker as its users do.
//
// A test builds the real program, starts it as a process beside a broker
// (embedded, and a real Apache Kafka where there is one) and the sandbox of
// Invoicebox, sends it events, kills it, and judges by what can be seen from
// outside: the requests and effects that the sandbox counted, the topics, and
// what the commands and the journal say.
//
// # Chaos
//
// TestChaos does so with everything going wrong at once, on real parts only:
// three brokers of Apache Kafka, one of which is killed and started again and
// again; the sandbox as a program of its own, in its profile hostile; a worker
// that is killed every few seconds, sometimes frozen for longer than lease and
// quiet period, sometimes asked to stop. The platform meanwhile says what
// platforms say: repeats, newer codes and addresses, wrong ones, other providers,
// records that nobody can use. Then the faults stop, and when nothing is left to
// do the ledger is drawn up, printed, and must add up to the last one:
//
//   - every record of the input topics is accepted, a repeat, ignored, or a dead
//     letter, each in the one place where it belongs;
//   - every code and every address of a shop has one line, with the effects that
//     the sandbox had, the events that the line asks for, and as many requests as
//     are accounted for: one a run, one for each that was provably not executed,
//     and those that are flagged as made in doubt;
//   - the requests of a shop never overlap and begin in order;
//   - every reference resolves to the token that was issued, and what was
//     answered whole to a worker that lived is kept;
//   - repeats of an event are equal to the letter, in key, headers and value;
//   - no window held more requests than the limit, and no log a secret.
//
// An account that is paused until a person opens it is opened when the faults have
// stopped; how often is told.
//
// What it sees of records that were ignored, or repeats, is that they are in no
// other place and were passed: a worker that is killed takes its counters along.
//
// Every run of the tests has a small one, where Apache Kafka is. A large one is
// asked for by
//
//	INVOICEBOX_CHAOS="shops=5000 duration=2h seed=1" go test -timeout 4h -run TestChaos -v ./internal/endtoend
//
// in which each word may be left out: 5,000 shops, five minutes of faults, a seed
// of its own. The seed decides over stories, faults of the sandbox and when whom
// something happens to; where a process stands at that moment it cannot decide,
// so that a run is repeated in kind, not to the letter. The log of -v holds the
// ledger.
package endtoend
