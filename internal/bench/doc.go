// Package bench measures the whole worker: a process that shares the machine's cores
// with a broker and an API that responds at once.
//
//	go test -run '^$' -bench . -benchtime 1x
//
// BenchmarkEvents measures the chain from codes in Kafka to results in Kafka. An event
// takes an activation and a check of its token. Its cases are combinations of:
//
//   - a loop over franz-go that stores nothing, one worker on SQLite, one on PostgreSQL,
//     and three on PostgreSQL that share the calls;
//   - calls without latency, and of 50 ms, always a hundred at a time;
//   - 20,000 shops with one code each, and 500 shops with 40.
//
// Each case begins with a warm-up, and is measured from its first call to its last
// result. ms/call is how long a call took as the worker sees it: what it takes beyond the
// latency is spent by the processes of this machine, and no worker can make up for it.
//
// INVOICEBOX_TEST_KAFKA names the jars of Apache Kafka (see internal/testutil/kafkatest);
// without it the broker is the embedded one. Cases with PostgreSQL are skipped where it
// is not installed. -profiles=DIR writes the CPU profile of each case's first worker to
// DIR, and prints from it how the CPU time of an event is divided. -worker=PROGRAM
// measures a given program, so that two versions can be measured in turns.
//
// BenchmarkStores measures the chain with 4,000 shops and calls of 50 ms: with the secrets in
// the journal, and in an OpenBao beside it with its files on the same disk. It needs
// INVOICEBOX_TEST_OPENBAO.
//
// BenchmarkRestart kills a worker with 200,000 open operations, and measures how long the next
// one takes until it is ready.
//
// BenchmarkOtherProviders reads records of which only one in a hundred is for the
// worker. BenchmarkNaiveLoop makes one invitation after the other: fetch, call, write,
// publish, commit.
//
// Compare only figures of one run: machines differ, and other programs use them. The
// package is a module of its own, so that the libraries it compares with do not become
// dependencies of the service.
package bench
