// Package bench measures the whole worker, as a process on the machine's cores
// together with an embedded broker and the sandbox, beside a naive loop that
// does the same job one record at a time: fetch, call, write, publish, commit.
//
//	go test -run '^$' -bench . -benchtime 1x
//
// BenchmarkReplicas runs the worker on SQLite, on PostgreSQL, and as three
// processes on PostgreSQL, with the same number of calls in flight together. It
// needs the programs of PostgreSQL, as internal/pgtest says, and is skipped
// without. Each case begins when every worker has partitions and has worked, and
// ends with the last published result.
//
// Figures mean something only as ratios within one run: machines differ, and
// are shared. It is a module of its own, so that what it compares with never
// becomes a dependency of the service.
package bench
