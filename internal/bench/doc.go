// Package bench measures the whole worker, as a process on the machine's cores
// together with an embedded broker and the sandbox, beside a naive loop that
// does the same job one record at a time: fetch, call, write, publish, commit.
//
//	go test -run '^$' -bench . -benchtime 1x
//
// Figures mean something only as ratios within one run: machines differ, and
// are shared. It is a module of its own, so that what it compares with never
// becomes a dependency of the service.
package bench
