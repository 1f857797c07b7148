// Package virtual contains tests only: whole workers in virtual time.
//
// A test runs the service with all its parts (package app) in a synctest bubble. Kafka is
// the embedded broker on a network in memory, Invoicebox is the sandbox behind an HTTP
// server on the same network, and the journal is a real SQLite file. Every timer is virtual,
// so hours pass in seconds. A goroutine that is left at the end of the bubble fails the test.
//
// TestSimulation runs a story for each seed, with faults at random times:
//
//	worker      killed at a random moment, or around a step of the journal; terminated; frozen
//	Kafka       a broker stops and starts, leaders and coordinators move, rebalances, connections cut,
//	            false errors of brokers (a time-out after the append)
//	Invoicebox  connections refused, 503, 429, requests that hang; and all that the sandbox does by itself
//	journal     slow, and steps that fail before or after their commit
//
// A killed worker leaves what is on the disk: its files are copied while everything in the
// bubble stands still. A frozen one keeps its connections to Invoicebox, its journal stands
// still and Kafka does not hear of it; unlike under SIGSTOP its timers run.
//
// The tests of outages keep Invoicebox away for a virtual day while events arrive.
//
//	SIMULATION_SEED=1000 SIMULATION_SEEDS=500 go test -run TestSimulation -timeout 1h ./internal/e2e/virtual
//	SIMULATION_OUTAGE=24h go test -run 'Away|429|Takes' -v ./internal/e2e/virtual
//
// SIMULATION_LOG names a file for the workers' logs. docs/verification.md lists what is
// checked after a run.
//
// # Limits
//
// Nothing here is a real disk, network or Kafka; packages e2e and kafkatest have those.
// The wall clock does not step. One worker at a time has the journal. A seed replays inputs
// and faults, but not the order of goroutines: a seed that failed once may pass the next time.
package virtual
