// Package e2e contains tests only. They see the worker as its users do.
//
// A test builds the real program, starts it as a process beside a broker (embedded, and a
// real Apache Kafka where there is one) and the sandbox of Invoicebox, sends it events,
// kills it, and checks what is visible from outside: the requests and effects that the
// sandbox counted, the topics, the output of commands and the journal.
//
// # Tests
//
//   - The flow of a shop, with one worker and with three replicas (layout).
//   - The limit of requests, over a restart and with replicas that come and go.
//   - The crash matrix: workers killed or frozen at each crash point, with each class of
//     response (crashtable_test.go, crashjudge_test.go). The worker is
//     internal/e2e/crashworker, the service's own wiring with a place to stop at.
//   - Chaos: everything fails at random, on real parts only.
//   - Restore: a backup beside a worker, loss of the file, a recovery, and one that is
//     killed.
//
// By default a subset of the crash matrix runs, and a small chaos where Apache Kafka is.
// Tests of replicas are skipped without PostgreSQL unless INVOICEBOX_TEST_REQUIRE names it
// (see package pgtest).
//
//	INVOICEBOX_TEST_CRASH=full   the whole crash matrix, in a quarter of an hour
//	INVOICEBOX_TEST_LIMIT=full   the API's own window of 30 s and the worker's own times, in seven
//	                             minutes; requires that 97 % of the limit is used. Otherwise a window
//	                             is 4 or 5 s
//	INVOICEBOX_TEST_SHOPS=2000   the flow, kills, SIGTERM and the example subscriber with so many
//	                             shops, instead of 200 to 400
//	INVOICEBOX_TEST_ALERTS=1     a real Prometheus and Alertmanager: every alert fires at its fault
//	INVOICEBOX_TEST_ALERTS=1h    two healthy workers for an hour, with the rules unchanged: no
//	                             alert fires
//	INVOICEBOX_TEST_PATRONI=1    three workers over PostgreSQL run by Patroni and etcd
//	INVOICEBOX_CHAOS="shops=5000 duration=2h seed=1 replicas=3 journal=postgres"
//	                             a large chaos; each word can be left out. -v prints the report
//
// docs/verification.md describes what is checked after a run, and what was measured.
package e2e
