// Package bench measures the whole worker, as a process on the machine's cores
// together with a broker and an API that does nothing but answer.
//
//	go test -run '^$' -bench . -benchtime 1x
//
// BenchmarkEvents is the chain from codes in Kafka to results in Kafka: for each
// event an activation and a check of its token, a hundred calls at a time, without
// latency and with 50 ms, for 20,000 shops with a code each and for 500 shops with
// 40. It compares a loop over franz-go that keeps nothing, one worker on SQLite and
// on PostgreSQL, and three workers that share the calls over PostgreSQL. Each case
// begins with a warm-up, and is measured from its first call to its last result.
//
// INVOICEBOX_TEST_KAFKA names the jars of Apache Kafka (see internal/kafkatest);
// without it the broker is the embedded one. PostgreSQL is skipped where it is not
// installed. With -profiles=DIR the CPU profile of each case's first worker is
// written there, and the budget of an event is printed from it.
//
// -worker=PROGRAM measures another version of the worker, to compare two in turns.
//
// BenchmarkOtherProviders reads records that are not for the worker.
// BenchmarkNaiveLoop does one invitation after the other: fetch, call, write,
// publish, commit.
//
// Figures mean something only as ratios within one run: machines differ, and
// are shared. It is a module of its own, so that what it compares with never
// becomes a dependency of the service.
package bench
