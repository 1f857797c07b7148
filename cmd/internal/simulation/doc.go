// Package simulation holds tests only: whole workers in virtual time.
//
// A test runs the service as its program does, with all its parts
// (package worker), in a synctest bubble: Kafka is
// the embedded broker on a network in memory, Invoicebox the sandbox behind an
// HTTP server on the same network, the journal a real SQLite file. Every timer
// is virtual, so hours pass in seconds, and what is left of the bubble's
// goroutines at its end fails the test.
//
// # The simulation
//
// TestSimulation tells a story for each seed: shops that choose Invoicebox,
// enter codes, newer codes, codes of others, turn away and back; the same events
// again; records that nobody can read; values that make the sandbox misbehave,
// and the sandbox hostile or realistic, its limit low or usual. Troubles come at
// drawn times:
//
//	worker      killed, at any moment or before or behind a step of the journal; told to stop; frozen
//	Kafka       a broker stops and starts, leaders and coordinators move, rebalances, connections cut,
//	            answers of brokers that lie (a time-out behind the append) or refuse
//	Invoicebox  connections refused, 503, 429, requests that hang; and all that the sandbox does unasked
//	journal     slow, and steps that fail before their commit or behind it
//
// A killed worker leaves what lies on the disk: its files are copied while
// everything in the bubble stands still, and whatever it does after that reaches
// nobody. A frozen one keeps its connections to Invoicebox, its journal stands
// still and Kafka does not hear of it; unlike under SIGSTOP its timers run.
//
// After the last trouble everything that is due must be done within two virtual
// hours, and nobody has to help. Then a judge looks from outside: every record
// is in the inbox, a dead letter or ignored, once; no window of the limit is
// exceeded; each request for a code or address is accounted for by a run, by
// proof that the one before was not executed, or by a flag, and was in the
// journal before it was sent; a shop's requests do not overlap; every operation
// ends in the event that its end asks for, and no code that was spent is called
// wrong; what is in the topics is what the journal froze, to the letter;
// references resolve to the token that was issued.
//
// The seed replays inputs, troubles and what the sandbox does. It does not
// replay the order in which goroutines run, so a seed that failed once may pass
// the next time; try it several times.
//
// # The outage
//
// Invoicebox is away for a virtual day (refused connections, 503, connections
// that time out) while events arrive all the time: memory and goroutines stay as
// they are, nothing fails, and afterwards everything is done at the allowed
// rate. The same, shorter, with 429 and with requests that hang.
//
// # More than in CI
//
//	SIMULATION_SEED=1000 SIMULATION_SEEDS=500 go test -run TestSimulation -timeout 1h ./cmd/internal/simulation
//	SIMULATION_OUTAGE=24h go test -run 'Away|429|Takes' -v ./cmd/internal/simulation
//
// SIMULATION_LOG names a file that gets the workers' logs.
//
// # What it does not
//
// Nothing here is a real disk, network or Kafka; packages endtoend and kafkatest
// have those. The wall clock does not step. There is one worker on a journal at
// a time.
package simulation
