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
//
// # Replicas
//
// What several workers over one PostgreSQL database do differently is shown by
// the same tests, on the same rigs: where the journal is and how many workers
// share it is a setting of them (layout). Where PostgreSQL is not, they are
// skipped, unless INVOICEBOX_TEST_REQUIRE names it; see package pgtest.
//
//	TestEveryShopIsActivatedOnceByReplicas  the flow
//	TestReplicasKilledFiveTimesWithProbes   one after the other killed, or frozen past lease and
//	                                        quiet period, while the others live
//	TestTheLimitIsKeptByReplicas            the limit is kept, and used up, also when replicas come and go
//	TestReplicaKilledAtEveryPoint           the matrix of crashes, for one of three; see below
//	TestReplicaFrozenAtEveryPoint, TestReplicaFrozenAndStale
//	TestChaos                               its second part; see below
//
// INVOICEBOX_TEST_LIMIT=full has the API's own window of 30 s and the worker's
// own times, takes seven minutes, and wants 97 % of what the limit allows; without it a
// window is 4 s, of which a busy machine is late by a part that is not small.
//
// # The matrix of crashes
//
// Three tests stop a worker at each crash point of the design, with every class
// of answer there is, for both kinds of operation, and with probe-once and hold.
// The worker is cmd/internal/testdata/crashworker, the service's own wiring with a place
// to stop at: in one run every shop stands at one point at the same time, one
// for each class and kind, and one signal meets them all. Each class and kind
// has an account of its own, so that gates do not mix. Between a request's
// effect and its answer they are held by whoever answers, in front of the sandbox.
//
//	TestKilledAtEveryPoint   SIGKILL; invoicebox-worker itself takes up what is left
//	TestFrozenAtEveryPoint   SIGSTOP past leases and quiet period, SIGCONT, and on at once
//	TestFrozenAndStale       the same, and on only when all that was given up has been
//	                         settled by others: stale steps and late answers
//
// Three more do so to one of three replicas, all of which stand at the point with
// what each has: the one that has claimed most, or that publishes, is killed or
// frozen, and the others, which live, take over.
//
// The points, the classes and where each pair of them leads are data
// (crashtable_test.go). Where nothing was in doubt an operation must end, and
// take as many requests, as if nothing had happened; elsewhere the table says
// how it may end, and for all of them hold the invariants (crashjudge_test.go):
// requests accounted for one by one, no overlap, no code called wrong that is
// spent, an event for every end, references that resolve, repeats equal to the
// letter, no offset committed that the inbox does not have.
//
// By default a subset runs: every point is killed at with probe-once, and frozen
// at where something is in doubt, in about a minute that is mostly waiting; of
// replicas five runs.
// INVOICEBOX_TEST_CRASH=full runs everything, in a quarter of an hour, with the
// classes that take minutes by themselves (a token that never works).
//
// A power cut is another matter, since what a killed process wrote is kept by
// the system: see internal/journal/sqlite/powercut.
//
// # Chaos
//
// TestChaos does so with everything going wrong at once, on real parts only:
// three brokers of Apache Kafka, one of which is killed and started again and
// again; the sandbox as a program of its own, in its profile hostile; a worker
// that is killed every few seconds, sometimes frozen for longer than lease and
// quiet period, sometimes asked to stop; or three replicas, to each of which the
// same happens, over PostgreSQL, whose server is stopped or killed and started
// again. The platform meanwhile says what
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
//     answered whole to a worker that lived, and had a database, is kept (of
//     several workers all have to have lived: whom an answer reached is not known);
//   - repeats of an event are equal to the letter, in key, headers and value;
//   - no window held more requests than the limit, and no log a secret.
//
// An account that is paused until a person opens it is opened when the faults have
// stopped; how often is told. So is how often a worker found no database when it
// started, and ended: one that has started waits for it.
//
// What it sees of records that were ignored, or repeats, is that they are in no
// other place and were passed: a worker that is killed takes its counters along.
//
// Every run of the tests has a small one, where Apache Kafka is. A large one is
// asked for by
//
//	INVOICEBOX_CHAOS="shops=5000 duration=2h seed=1 replicas=3 journal=postgres" go test -timeout 4h -run TestChaos -v ./internal/endtoend
//
// in which each word may be left out: 5,000 shops, five minutes of faults, a seed
// of its own, one worker, sqlite. The seed decides over stories, faults of the sandbox and when whom
// something happens to; where a process stands at that moment it cannot decide,
// so that a run is repeated in kind, not to the letter. The log of -v holds the
// ledger.
package endtoend
